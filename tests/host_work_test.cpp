// Work on the simulated device: what order it runs in, and who waits for whom.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <set>
#include <string>

#include "harness/simt/host_context.hpp"
#include "tests/host_lane.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

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

}  // namespace
}  // namespace drought
