// The vocabulary of kernels on the host: what it computes, and how it answers a kernel that is wrong.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/simt_kernels.hpp"

namespace drought {
namespace {

struct Reverse : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const auto thread = static_cast<std::size_t>(context.thread());
    std::uint32_t* const kept = context.template shared<std::uint32_t>(0, 64);
    kept[thread] = context.global(given.in)[thread];
    context.sync();
    context.global(given.out)[thread] = kept[63 - thread];
  }
};

TEST_F(Simt, MovesDataBetweenThreadsThroughSharedMemoryWhateverTheirOrder) {
  const auto in = numbers(64);
  for (const std::uint64_t seed : {0, 1, 2, 77}) {
    set_thread_order_seed(seed);
    std::vector<std::uint32_t> out(64);
    ASSERT_EQ(run<Reverse>(in, out), Status::success) << host_launch_report();
    EXPECT_EQ(host_launch_report(), "");
    for (std::size_t i = 0; i < 64; ++i) ASSERT_EQ(out[i], in[63 - i]);
  }
}

struct OrderOfThreads : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const auto out = context.global(given.out);
    const std::uint32_t turn = context.atomic_add(out, 64, 1u);
    out[turn] = static_cast<std::uint32_t>(context.thread());
    context.atomic_max(out, 65, static_cast<std::uint32_t>(context.thread()));
  }
};

TEST_F(Simt, RunsThreadsInAnOrderThatTheSeedAloneDecides) {
  const auto order = [](std::uint64_t seed) {
    std::vector<std::uint32_t> out(66);
    set_thread_order_seed(seed);
    EXPECT_EQ(run<OrderOfThreads>(numbers(1), out), Status::success) << host_launch_report();
    EXPECT_EQ(out[64], 64u);
    EXPECT_EQ(out[65], 63u);
    return out;
  };
  EXPECT_EQ(order(5), order(5));
  EXPECT_NE(order(5), order(6));
  EXPECT_NE(order(5), order(0));
}

template <bool waits>
struct CopyAsync : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const auto first = static_cast<std::size_t>(context.thread()) * 4;
    std::uint32_t* const kept = context.template shared<std::uint32_t>(0, 256);
    context.copy_async(kept + first, context.global(given.in), first, context.thread() != 5);
    context.commit();
    if (waits) context.template wait<0>();
    context.global(given.out)[static_cast<std::size_t>(context.thread())] = kept[first + 1];
  }
};

TEST_F(Simt, CopiesAsynchronouslyWithZerosForWhatIsNotThere) {
  const auto in = numbers(256);
  std::vector<std::uint32_t> out(64);
  ASSERT_EQ(run<CopyAsync<true>>(in, out), Status::success) << host_launch_report();
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(out[i], i == 5 ? 0 : in[i * 4 + 1]);
}

TEST_F(Simt, LetsAKernelThatForgetsToWaitReadNaNs) {
  std::vector<std::uint32_t> out(64);
  ASSERT_EQ(run<CopyAsync<false>>(numbers(256), out), Status::success) << host_launch_report();
  EXPECT_EQ(out, std::vector<std::uint32_t>(64, 0xffffffffu));
}

struct WriteUnderCopy : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const auto thread = static_cast<std::size_t>(context.thread());
    std::uint32_t* const kept = context.template shared<std::uint32_t>(0, 256) + 4 * thread;
    context.copy_async(kept, context.global(given.in), 4 * thread, true);
    context.commit();
    kept[0] = 7;
    context.sync();
    context.global(given.out)[thread] = kept[0];
    context.template wait<0>();
  }
};

TEST_F(Simt, LosesWhatIsWrittenWhereACopyIsUnderWay) {
  std::vector<std::uint32_t> out(64);
  ASSERT_EQ(run<WriteUnderCopy>(numbers(256), out), Status::success) << host_launch_report();
  EXPECT_EQ(out, std::vector<std::uint32_t>(64, 0xffffffffu));
}

template <bool waits>
struct CopyTwice : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const auto thread = static_cast<std::size_t>(context.thread());
    std::uint32_t* const kept = context.template shared<std::uint32_t>(0, 256) + 4 * thread;
    for (int turn = 0; turn < 2; ++turn) {
      context.copy_async(kept, context.global(given.in), 4 * thread, turn == 1);
      context.commit();
      if (waits) context.template wait<0>();
    }
    context.template wait<0>();
    context.global(given.out)[thread] = kept[0];
  }
};

TEST_F(Simt, RefusesACopyToWhereAnotherIsUnderWay) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<CopyTwice<true>>(numbers(256), out), Status::success) << host_launch_report();
  EXPECT_EQ(out[63], numbers(256)[252]);
  EXPECT_EQ(run<CopyTwice<false>>(numbers(256), out), Status::launch_failure);
  EXPECT_EQ(host_launch_report(),
            "test_kernel, block (0,0,0), thread 0 copies to where another copy is under way");
}

template <int place>
struct CopyIntoShared : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    std::uint32_t* const kept = context.template shared<std::uint32_t>(0, 4);
    if (context.thread() == 9) context.copy_async(kept + place, context.global(given.in), 0, true);
    context.commit();
    context.template wait<0>();
  }
};

TEST_F(Simt, RefusesACopyBeyondTheSharedMemoryOfTheLaunch) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<CopyIntoShared<4>>(numbers(4), out, 64, 32), Status::success);
  for (const Status status :
       {run<CopyIntoShared<8>>(numbers(4), out, 64, 32), run<CopyIntoShared<4>>(numbers(4), out, 64, 31),
        run<CopyIntoShared<-4>>(numbers(4), out, 64, 32)})
    EXPECT_EQ(status, Status::illegal_address);
  EXPECT_EQ(host_launch_report(),
            "test_kernel, block (0,0,0), thread 9 copies beyond the shared memory that the launch asked for");
}

template <int offset>
struct CopyMisaligned : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    if (context.thread() == 9)
      context.copy_async(context.template shared<std::uint32_t>(0, 8), context.global(given.in), offset,
                         true);
  }
};

TEST_F(Simt, AnswersMisalignedAddressForACopyOf16BytesFromBetween) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<CopyMisaligned<2>>(numbers(256), out), Status::misaligned_address);
  EXPECT_EQ(host_launch_report(),
            "test_kernel, block (0,0,0), thread 9 copies 16 bytes that are not aligned");
}

struct ReadPastEnd : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const bool strays = context.thread() == 7 && context.block().x == 2;
    context.global(given.out)[static_cast<std::size_t>(context.thread())] =
        context.global(given.in)[strays ? 16 : 15];
  }
};

struct WriteIntoInput : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    context.global(const_cast<std::uint32_t*>(given.in))[1] = 0;
  }
};

struct TouchUndeclared : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    context.global(given.out + 1024)[2] = 0;
  }
};

TEST_F(Simt, NamesOperandOffsetKernelBlockAndThreadOfAnIllegalAddress) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<ReadPastEnd>(numbers(16), out, 64, 0, 4), Status::illegal_address);
  EXPECT_EQ(host_launch_report(),
            "test_kernel, block (2,0,0), thread 7 leaves the operand 'in' (64 bytes) at byte 64");
  EXPECT_EQ(run<WriteIntoInput>(numbers(16), out), Status::illegal_address);
  EXPECT_EQ(
      host_launch_report(),
      "test_kernel, block (0,0,0), thread 0 writes into the read-only operand 'in' (64 bytes) at byte 4");
  EXPECT_EQ(run<TouchUndeclared>(numbers(16), out), Status::illegal_address);
  EXPECT_EQ(host_launch_report(),
            "test_kernel, block (0,0,0), thread 0 touches memory that no operand declares, at byte 8");
  EXPECT_EQ(run<Reverse>(numbers(64), out), Status::success)
      << "a failed launch spoils nothing: " << host_launch_report();
}

struct SyncOfSome : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words&) {
    if (context.thread() == 40) return;
    if (context.thread() >= 32 && context.thread() < 36) context.sync_warp();
    context.sync();
  }
};

TEST_F(Simt, ReportsABarrierThatOnlySomeThreadsReachAndWhoWaitsWhere) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<SyncOfSome>(numbers(1), out), Status::launch_failure);
  EXPECT_EQ(
      host_launch_report(),
      "test_kernel, block (0,0,0) is stuck: threads 0-31,36-39,41-63 at sync; threads 32-35 at sync_warp; "
      "threads 40 at the end");
  EXPECT_EQ(run<Reverse>(numbers(64), out), Status::success) << host_launch_report();
}

struct DifferentCollectives : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words&) {
    float value[1] = {1};
    if (context.lane() < 16) {
      context.template reduce_max<32>(value);
    } else {
      context.template reduce_sum<32>(value);
    }
  }
};

TEST_F(Simt, ReportsLanesOfOneWarpInDifferentCollectives) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<DifferentCollectives>(numbers(1), out, 32), Status::launch_failure);
  EXPECT_EQ(host_launch_report(),
            "test_kernel, block (0,0,0), thread 16 meets its warp in another collective");
}

struct TakeSharedMemory : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const float* const kept = context.template shared<float>(1020, context.thread() == 3 ? 2 : 1);
    context.global(given.out)[static_cast<std::size_t>(context.thread())] = kept[0] != kept[0];
  }
};

TEST_F(Simt, StartsSharedMemoryAsNaNAndLendsNoMoreThanTheLaunchAskedFor) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<TakeSharedMemory>(numbers(1), out, 3), Status::success);
  EXPECT_EQ(out[0], 1u);
  EXPECT_EQ(run<TakeSharedMemory>(numbers(1), out, 4), Status::illegal_address);
  EXPECT_EQ(host_launch_report(),
            "test_kernel, block (0,0,0), thread 3 takes more shared memory than the launch asked for");
}

TEST_F(Simt, RefusesAGeometryThatNoChipRuns) {
  std::vector<std::uint32_t> out(64);
  EXPECT_EQ(run<Reverse>(numbers(64), out, 0), Status::invalid_value);
  EXPECT_EQ(run<Reverse>(numbers(64), out, 129), Status::invalid_value)
      << "more than the functor was made for";
  EXPECT_EQ(run<Reverse>(numbers(64), out, 64, 1024, 0), Status::invalid_value);
}

TEST_F(Simt, RunsALaunchToItsEndInsideAnotherFiber) {
  const auto in = numbers(64);
  std::vector<std::uint32_t> out(64);
  Status status = Status::unknown;
  Fiber process({.stack_bytes = 256 << 10}, [&] {
    Fiber::suspend();
    status = run<Reverse>(in, out);
    Fiber::suspend();
  });
  process.resume();
  process.resume();
  EXPECT_EQ(status, Status::success) << host_launch_report();
  EXPECT_EQ(out[0], in[63]);
  process.resume();
  EXPECT_TRUE(process.finished());
}

}  // namespace
}  // namespace drought
