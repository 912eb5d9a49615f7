// Work on the simulated device: what order it runs in, who waits for whom, and what a fault does.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "harness/simt/host_context.hpp"
#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

using Work = Device::Work;

std::unique_ptr<Device> h200(std::uint64_t seed = 1, Work work = Work::full) {
  return make_host_device(profile_named("h200"), {.work = work, .seed = seed});
}

struct Note {
  std::string* log;
  char letter;
};

Status write_note(const Launch& launch) {
  const Note& note = *static_cast<const Note*>(launch.arguments);
  note.log->push_back(note.letter);
  return Status::success;
}

/// A kernel that writes `letter` into `log` when it runs.
Status note(Device& device, std::string& log, char letter, Stream stream) {
  const Note arguments{&log, letter};
  return device.launch({.kernel = "note",
                        .grid = {1, 1, 1},
                        .block = {1, 1, 1},
                        .stream = stream,
                        .arguments = &arguments,
                        .arguments_bytes = sizeof arguments,
                        .host = write_note});
}

Stream stream_of(Device& device) {
  Stream stream;
  EXPECT_EQ(device.stream_create(stream), Status::success);
  return stream;
}

Event event_of(Device& device) {
  Event event;
  EXPECT_EQ(device.event_create(event), Status::success);
  return event;
}

/// The order in which two streams of four kernels each ran.
std::string interleaving(std::uint64_t seed) {
  const auto device = h200(seed);
  const Stream upper = stream_of(*device), lower = stream_of(*device);
  std::string log;
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(note(*device, log, static_cast<char>('A' + i), upper), Status::success);
    EXPECT_EQ(note(*device, log, static_cast<char>('a' + i), lower), Status::success);
  }
  EXPECT_EQ(device->synchronize(), Status::success);
  return log;
}

TEST(HostStreams, KeepEachStreamsOrderAndMixStreamsByTheSeedAlone) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const std::string log = interleaving(seed);
    EXPECT_EQ(log, interleaving(seed)) << "seed " << seed;
    std::string upper, lower;
    for (const char letter : log) (letter < 'a' ? upper : lower).push_back(letter);
    EXPECT_EQ(upper, "ABCD");
    EXPECT_EQ(lower, "abcd");
    seen.insert(log);
  }
  EXPECT_GT(seen.size(), 20u) << "70 interleavings are legal";
}

class EverySeed : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, EverySeed, testing::Range<std::uint64_t>(1, 33));

TEST_P(EverySeed, MakesAStreamWaitForTheEventThatItWasGiven) {
  const auto device = h200(GetParam());
  const Stream first = stream_of(*device), second = stream_of(*device);
  const Event done = event_of(*device);
  std::string log;
  ASSERT_EQ(device->stream_wait_event(second, done), Status::success)
      << "never recorded: nothing to wait for";
  ASSERT_EQ(note(*device, log, 'a', first), Status::success);
  ASSERT_EQ(device->event_record(done, first), Status::success);
  ASSERT_EQ(device->stream_wait_event(second, done), Status::success);
  ASSERT_EQ(note(*device, log, 'b', second), Status::success);
  ASSERT_EQ(device->stream_synchronize(second), Status::success);
  EXPECT_EQ(log, "ab");
}

TEST_P(EverySeed, PutsTheDefaultStreamBetweenAllEarlierAndAllLaterWork) {
  const auto device = h200(GetParam());
  const Stream upper = stream_of(*device), lower = stream_of(*device);
  std::string log;
  ASSERT_EQ(note(*device, log, 'a', upper), Status::success);
  ASSERT_EQ(note(*device, log, 'b', lower), Status::success);
  ASSERT_EQ(note(*device, log, '-', {}), Status::success);
  ASSERT_EQ(note(*device, log, 'c', lower), Status::success);
  ASSERT_EQ(note(*device, log, 'd', upper), Status::success);
  ASSERT_EQ(device->synchronize(), Status::success);
  ASSERT_EQ(log.size(), 5u);
  EXPECT_EQ(log[2], '-');
  std::sort(log.begin(), log.begin() + 2);
  EXPECT_EQ(log.substr(0, 2), "ab");
}

TEST_P(EverySeed, FinishesEveryPendingKernelBeforeAFreeReturns) {
  const auto device = h200(GetParam());
  void* const block = malloc_or_null(*device, 1_KiB);
  std::string log;
  ASSERT_EQ(note(*device, log, 'a', stream_of(*device)), Status::success);
  ASSERT_EQ(note(*device, log, 'b', stream_of(*device)), Status::success);
  ASSERT_EQ(device->free(block), Status::success);
  EXPECT_EQ(log.size(), 2u);
}

TEST_P(EverySeed, EndsAPollingLoopAndAnswersNotReadyOnlyBefore) {
  const auto device = h200(GetParam());
  const Stream stream = stream_of(*device);
  const Event done = event_of(*device);
  std::string log;
  for (const char letter : {'a', 'b', 'c'}) ASSERT_EQ(note(*device, log, letter, stream), Status::success);
  ASSERT_EQ(device->event_record(done, stream), Status::success);
  Status status = device->event_query(done);
  for (int polls = 0; status == Status::not_ready && polls < 1000; ++polls)
    status = device->event_query(done);
  EXPECT_EQ(status, Status::success);
  EXPECT_EQ(log, "abc");
  EXPECT_EQ(device->peek_last_error(), Status::success);
}

TEST(HostStreams, AnswersNotReadyForSomeSeedWhileWorkIsPending) {
  int not_ready = 0;
  for (std::uint64_t seed = 1; seed <= 32; ++seed) {
    const auto device = h200(seed);
    const Event done = event_of(*device);
    std::string log;
    ASSERT_EQ(note(*device, log, 'a', {}), Status::success);
    ASSERT_EQ(device->event_record(done, {}), Status::success);
    if (device->event_query(done) == Status::not_ready) ++not_ready;
  }
  EXPECT_GT(not_ready, 4);
  EXPECT_LT(not_ready, 32);
}

TEST_P(EverySeed, RetiresTheWorkOfAStreamThatWasDestroyed) {
  const auto device = h200(GetParam());
  const Stream stream = stream_of(*device);
  std::string log;
  ASSERT_EQ(note(*device, log, 'a', stream), Status::success);
  ASSERT_EQ(device->stream_destroy(stream), Status::success);
  EXPECT_EQ(note(*device, log, 'b', stream), Status::invalid_resource_handle);
  EXPECT_EQ(device->stream_destroy(stream), Status::invalid_resource_handle);
  ASSERT_EQ(device->synchronize(), Status::success);
  EXPECT_EQ(log, "a");
}

TEST_P(EverySeed, HidesAFaultUntilACallSynchronisesAndThenAnswersItForEver) {
  const auto device = h200(GetParam());
  auto* const block = static_cast<char*>(malloc_or_null(*device, 64_MiB));
  ASSERT_EQ(device->free(block), Status::success);
  const Stream stream = stream_of(*device);
  std::string log;
  // Far behind the small blocks below, which take the freed address.
  ASSERT_EQ(probe_write(*device, block + 32_MiB, 1, stream), Status::success);
  ASSERT_EQ(note(*device, log, 'a', stream), Status::success);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(malloc_or_null(*device, 1_KiB));
  EXPECT_EQ(device->stream_synchronize(stream), Status::illegal_address);
  EXPECT_EQ(log, "") << "work behind the fault ran";
  MemInfo info;
  EXPECT_EQ(device->mem_info(info), Status::illegal_address);
  EXPECT_EQ(malloc_or_null(*device, 1), nullptr);
  EXPECT_EQ(device->free(nullptr), Status::illegal_address);
  EXPECT_EQ(device->take_last_error(), Status::illegal_address);
  EXPECT_EQ(device->peek_last_error(), Status::illegal_address);

  const auto second = h200(GetParam());
  void* const healthy = malloc_or_null(*second, 1_KiB);
  ASSERT_EQ(probe_write(*second, healthy, 9), Status::success);
  std::uint8_t seen = 0;
  ASSERT_EQ(second->memcpy(&seen, healthy, 1), Status::success);
  EXPECT_EQ(seen, 9);
}

Status touch_the_launch_itself(const Launch& launch) {
  volatile char* const address = *static_cast<char* const*>(launch.arguments);
  *address = 1;
  return Status::success;
}

TEST(HostDeviceFault, EndsOnlyTheContextWhenABodyTouchesWhatNobodyMapped) {
  const auto device = h200();
  char* const address = static_cast<char*>(malloc_or_null(*device, 64_MiB)) + 64_MiB + 12_MiB;
  ASSERT_EQ(device->launch({.kernel = "stray",
                            .grid = {1, 1, 1},
                            .block = {1, 1, 1},
                            .declared = false,
                            .arguments = &address,
                            .arguments_bytes = sizeof address,
                            .host = touch_the_launch_itself}),
            Status::success);
  EXPECT_EQ(device->synchronize(), Status::illegal_address);
}

void touch_on_every_thread(HostContext&, const void* arguments) {
  volatile char* const address = *static_cast<char* const*>(arguments);
  *address = 1;
}

Status touch_on_kernel_threads(const Launch& launch) {
  return run_on_host(launch, touch_on_every_thread, launch.arguments);
}

TEST(HostDeviceFault, NamesTheKernelAndTheThreadThatTouchedWhatNobodyMapped) {
  for (int i = 0; i < 2; ++i) {
    const auto device = h200();
    char* const address = static_cast<char*>(malloc_or_null(*device, 64_MiB)) + 64_MiB + 12_MiB;
    ASSERT_EQ(device->launch({.kernel = "stray",
                              .grid = {2, 1, 1},
                              .block = {64, 1, 1},
                              .declared = false,
                              .arguments = &address,
                              .arguments_bytes = sizeof address,
                              .host = touch_on_kernel_threads}),
              Status::success);
    EXPECT_EQ(device->synchronize(), Status::illegal_address);
    EXPECT_NE(host_launch_report().find("stray, block"), std::string::npos) << host_launch_report();
  }
}

/// The threads of two launches of eight, as they ran.
struct ThreadOrder {
  std::array<int, 16> threads{};
  std::atomic<std::size_t> ran{0};
};

Status log_thread_order(const Launch& launch) {
  const auto log = [](HostContext& context, const void* arguments) {
    ThreadOrder& order = **static_cast<ThreadOrder* const*>(arguments);
    order.threads[order.ran++] = context.thread();
  };
  return run_on_host(launch, log, launch.arguments);
}

std::array<int, 16> order_of_threads(std::uint64_t seed) {
  ThreadOrder order;
  ThreadOrder* const arguments = &order;
  const auto device = h200(seed);
  const Launch launch{.kernel = "order",
                      .grid = {1, 1, 1},
                      .block = {8, 1, 1},
                      .arguments = &arguments,
                      .arguments_bytes = sizeof arguments,
                      .host = log_thread_order};
  EXPECT_EQ(device->launch(launch), Status::success);
  EXPECT_EQ(device->launch(launch), Status::success);
  EXPECT_EQ(device->synchronize(), Status::success);
  EXPECT_EQ(order.ran, 16u);
  return order.threads;
}

TEST(HostDevice, RunsAKernelsThreadsInTheOrderOfItsSeed) {
  EXPECT_EQ(order_of_threads(5), order_of_threads(5));
  EXPECT_NE(order_of_threads(5), order_of_threads(6));
  const auto both = order_of_threads(5);
  EXPECT_FALSE(std::equal(both.begin(), both.begin() + 8, both.begin() + 8))
      << "both launches ran in one order";
}

TEST(HostDeviceFault, TakesADeclaredOperandThatIsNotMappedForAFaultEvenWhereOnlyShapesCount) {
  for (const Work work : {Work::full, Work::shapes}) {
    const auto device = h200(1, work);
    void* const block = malloc_or_null(*device, 64_MiB);
    const Operand stale{"kv_buffer", block, 64_MiB + 1, Access::read};
    std::string log;
    const Note arguments{&log, 'a'};
    ASSERT_EQ(device->launch({.kernel = "note",
                              .grid = {1, 1, 1},
                              .block = {1, 1, 1},
                              .operands = {&stale, 1},
                              .arguments = &arguments,
                              .arguments_bytes = sizeof arguments,
                              .host = write_note}),
              Status::success);
    EXPECT_EQ(device->synchronize(), Status::illegal_address);
    EXPECT_EQ(log, "");
  }
}

TEST(HostDeviceFault, MakesAPendingFillFaultWhenItsMappingIsGoneBeforeItRuns) {
  int faults = 0;
  for (std::uint64_t seed = 1; seed <= 16; ++seed) {
    const auto device = h200(seed);
    MemoryHandle handle;
    void* at = nullptr;
    ASSERT_EQ(device->mem_create(handle, 2_MiB), Status::success);
    ASSERT_EQ(device->address_reserve(at, 2_MiB), Status::success);
    ASSERT_EQ(device->mem_map(at, 2_MiB, 0, handle), Status::success);
    ASSERT_EQ(device->mem_set_access(at, 2_MiB, Protection::read_write), Status::success);
    ASSERT_EQ(device->memset(at, 1, 2_MiB), Status::success);
    ASSERT_EQ(device->mem_unmap(at, 2_MiB), Status::success);
    if (device->synchronize() == Status::illegal_address) ++faults;
  }
  EXPECT_GT(faults, 2);
  EXPECT_LT(faults, 16);
}

TEST(HostDeviceFault, RefusesAKernelsWriteToAReadOnlyMapping) {
  for (const Work work : {Work::full, Work::shapes}) {
    const auto device = h200(1, work);
    MemoryHandle handle;
    void* at = nullptr;
    ASSERT_EQ(device->mem_create(handle, 2_MiB), Status::success);
    ASSERT_EQ(device->address_reserve(at, 2_MiB), Status::success);
    ASSERT_EQ(device->mem_map(at, 2_MiB, 0, handle), Status::success);
    ASSERT_EQ(device->mem_set_access(at, 2_MiB, Protection::read), Status::success);
    ASSERT_EQ(probe_write(*device, at, 1), Status::success);
    EXPECT_EQ(device->synchronize(), Status::illegal_address);
  }
}

TEST(HostDeviceFaultDeathTest, LeavesABugOutsideDeviceWorkACrash) {
  const auto device = h200();
  void* const block = malloc_or_null(*device, 64_MiB);
  ASSERT_EQ(probe_read(*device, block), Status::success);
  ASSERT_EQ(device->free(block), Status::success);
  EXPECT_DEATH(*static_cast<volatile char*>(block) = 1, "");
}

}  // namespace
}  // namespace drought
