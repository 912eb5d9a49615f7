// The vocabulary of kernels on the host: what it computes, and how it answers a kernel that is wrong.
#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "harness/simt/config.hpp"
#include "harness/simt/host_launch.hpp"

namespace drought {
namespace {

/// Threads run by number unless a test says otherwise.
class Simt : public testing::Test {
 protected:
  void SetUp() override { set_thread_order_seed(0); }
};

struct Words {
  const std::uint32_t* in;
  std::uint32_t* out;
};

/// What the kernels of this file have in common.
struct OnWords {
  using Arguments = Words;
  static constexpr unsigned threads_max = 128;
};

template <typename Functor>
Status run(const std::vector<std::uint32_t>& in, std::vector<std::uint32_t>& out, unsigned threads = 64,
           std::size_t shared_bytes = 1024, unsigned blocks = 1) {
  const Words words{in.data(), out.data()};
  const Operand operands[] = {{"in", in.data(), in.size() * 4, Access::read},
                              {"out", out.data(), out.size() * 4, Access::write}};
  return host_body<Functor>({.kernel = "test_kernel",
                             .grid = {blocks},
                             .block = {threads},
                             .shared_bytes = shared_bytes,
                             .operands = operands,
                             .arguments = &words,
                             .arguments_bytes = sizeof words});
}

std::vector<std::uint32_t> numbers(std::size_t n) {
  std::vector<std::uint32_t> made(n);
  std::iota(made.begin(), made.end(), 100u);
  return made;
}

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

struct WarpWork : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const int lane = context.lane();
    const auto thread = static_cast<std::size_t>(context.thread());
    float values[2] = {static_cast<float>(lane), static_cast<float>(-lane)};
    context.template reduce_max<4>(values);
    float sums[1] = {static_cast<float>(lane)};
    context.template reduce_sum<32>(sums);
    const int neighbour = context.shuffle_xor(lane, 1), third = context.shuffle(lane, 3);
    const bool right = values[0] == static_cast<float>(lane | 3) &&
                       values[1] == -static_cast<float>(lane & ~3) && sums[0] == 496.0f &&
                       neighbour == (lane ^ 1) && third == 3;
    context.global(given.out)[thread] = right;
  }
};

TEST_F(Simt, ShufflesAndReducesWithinWarpsAndGroups) {
  std::vector<std::uint32_t> out(64);
  set_thread_order_seed(3);
  ASSERT_EQ(run<WarpWork>(numbers(1), out), Status::success) << host_launch_report();
  EXPECT_EQ(out, std::vector<std::uint32_t>(64, 1));
}

template <typename T, bool b_is_transposed>
struct Product : OnWords {
  static constexpr int depth = 48, columns = 24, pitch = 56;
  static float element_a(int r, int k) { return static_cast<float>((r * 5 + k * 3) % 17 - 8); }
  static float element_b(int k, int n) { return static_cast<float>((k * 7 + n * 11) % 13 - 6); }

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    T* const a = context.template shared<T>(0, 16 * pitch);
    T* const b = context.template shared<T>(sizeof(T) * 16 * pitch, depth * pitch);
    const int lane = context.lane();
    for (int i = lane; i < 16 * depth; i += 32)
      a[i / depth * pitch + i % depth] = from_float<T>(element_a(i / depth, i % depth));
    for (int i = lane; i < columns * depth; i += 32) {
      const int k = i / columns, n = i % columns;
      b[b_is_transposed ? n * pitch + k : k * pitch + n] = from_float<T>(element_b(k, n));
    }
    context.sync_warp();
    Fragment<columns> c{};
    for (auto& tile : c.value)
      for (float& value : tile) value = 1000.0f;
    if constexpr (b_is_transposed) {
      context.template multiply_by_transposed<depth>(c, Tile<const T>{a, pitch}, Tile<const T>{b, pitch});
    } else {
      context.template multiply_by<depth>(c, Tile<const T>{a, pitch}, Tile<const T>{b, pitch});
    }
    for (int t = 0; t < columns / 8; ++t) {
      for (int e = 0; e < 4; ++e) {
        float expected = 1000.0f;
        for (int k = 0; k < depth; ++k)
          expected += element_a(c.row(lane, e), k) * element_b(k, c.column(lane, t, e));
        const auto at = static_cast<std::size_t>(c.row(lane, e) * columns + c.column(lane, t, e));
        context.global(given.out)[at] = c.value[t][e] == expected;
      }
    }
  }
};

TEST_F(Simt, MultipliesTilesOfBothTypesAndLayoutsIntoTheAccumulatorOfMmaSync) {
  const std::size_t elements = 16 * 24;
  const auto right = [&](auto kernel) {
    std::vector<std::uint32_t> out(elements);
    EXPECT_EQ(run<decltype(kernel)>(numbers(1), out, 32, 64 << 10), Status::success) << host_launch_report();
    return out;
  };
  const std::vector<std::uint32_t> all(elements, 1);
  EXPECT_EQ(right(Product<float, false>{}), all);
  EXPECT_EQ(right(Product<float, true>{}), all);
  EXPECT_EQ(right(Product<bf16, false>{}), all);
  EXPECT_EQ(right(Product<bf16, true>{}), all);
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
