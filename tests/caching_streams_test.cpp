// The caching allocator's streams: none takes another's blocks, and a block that was used on several
// comes back when the last of those uses has completed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/caching_bench.hpp"

namespace drought {
namespace {

using testing::ElementsAre;

using Bench = CachingBench;

TEST(CachingStreams, DoesNotReuseABlockBeforeItsUseOnAnotherStreamHasCompleted) {
  Bench bench;
  const Stream other{2};
  EXPECT_EQ(bench.take(4_MiB, 1), 0u);
  bench.caching.record_stream(bench.at(0), other);
  bench.give(0);
  EXPECT_EQ(bench.take(4_MiB, 1), 0x400000u);
  bench.device.complete(other);
  EXPECT_EQ(bench.take(4_MiB, 1), 0u);
  EXPECT_EQ(bench.device.live_events(), 1u) << "the event is kept for the next use";
}

TEST(CachingStreams, WaitsForEveryStreamThatUsedABlockAndForNoneTwice) {
  Bench bench;
  bench.take(4_MiB, 1);
  for (const std::uint64_t stream : {1, 2, 3, 2}) bench.caching.record_stream(bench.at(0), {stream});
  bench.give(0);
  EXPECT_EQ(bench.device.live_events(), 2u) << "its own stream and a stream named twice need no event";
  bench.device.complete({3});
  EXPECT_EQ(bench.take(4_MiB, 1), 0x400000u);
  bench.device.complete({2});
  EXPECT_EQ(bench.take(4_MiB, 1), 0u);
}

TEST(CachingStreams, WaitsForUsesOnOtherStreamsBeforeGivingSegmentsBack) {
  Bench bench;
  bench.take(12_MiB, 1);
  bench.caching.record_stream(bench.at(0), {2});
  bench.give(0);
  EXPECT_EQ(bench.caching.trim(), 12_MiB);
  EXPECT_EQ(bench.device.used_bytes(), 0u);
}

TEST(CachingStreams, HoldsABlockUntilTheDeviceIsIdleWhenNoEventCanBeRecorded) {
  for (const bool at_creation : {true, false}) {
    Bench bench;
    bench.take(12_MiB, 1);
    bench.caching.record_stream(bench.at(0), {2});
    (at_creation ? bench.device.event_create_answer : bench.device.event_record_answer) =
        Status::launch_out_of_resources;
    bench.give(0);
    (void)bench.device.take_last_error();
    EXPECT_EQ(bench.take(12_MiB, 1), 12_MiB) << "the first block may still be in use";
    bench.give(12_MiB);
    bench.device.synchronize_answer = Status::launch_failure;
    EXPECT_THROW(bench.caching.trim(), DeviceError);
    EXPECT_EQ(bench.device.used_bytes(), 24_MiB);
    bench.device.synchronize_answer = Status::success;
    EXPECT_EQ(bench.caching.trim(), 24_MiB);
  }
}

TEST(CachingStreams, TrimsStreamsByRisingHandleAndLargeSegmentsBeforeSmallOnes) {
  Bench bench;
  bench.take(12_MiB, 5);
  bench.take(11_MiB, 5);
  bench.take(100, 5);
  bench.take(30_MiB, 1);
  bench.decisions.clear();
  bench.give_all();
  EXPECT_EQ(bench.caching.trim(), 56_MiB);
  EXPECT_THAT(bench.decisions, ElementsAre("free 31457280 @27262976", "free 12582912 @0",
                                           "free 12582912 @12582912", "free 2097152 @25165824"));
  EXPECT_EQ(bench.caching.trim(), 0u);
}

TEST(CachingStreams, KeepsStreamsApart) {
  Bench bench;
  bench.take(12_MiB, 1);
  bench.give(0);
  EXPECT_EQ(bench.take(12_MiB, 2), 12_MiB);
  EXPECT_EQ(bench.take(12_MiB, 1), 0u);
}

}  // namespace
}  // namespace drought
