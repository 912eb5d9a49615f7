// The caching allocator's settings as short scripts with the decisions they must cause. Scripts and
// answers come from a model of the rules that recorded traces agree with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/caching_bench.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Bench = CachingBench;

TEST(CachingSettings, ReleaseTheLargestBlocksOneByOneWhenNoneIsLargeEnoughAlone) {
  Bench bench(100_MiB, {.conf = "max_split_size_mb:40"});
  bench.take(44_MiB);
  bench.take(48_MiB);
  bench.give_all();
  bench.decisions.clear();
  EXPECT_EQ(bench.take(90_MiB), 92_MiB);
  EXPECT_THAT(bench.decisions,
              ElementsAre("free 50331648 @46137344", "free 46137344 @0", "alloc 94371840 @96468992"));
  EXPECT_EQ(bench.caching.retries(), 0u);
}

TEST(CachingSettings, ReleaseOneBlockThatIsLargeEnoughAndLeaveTheOthers) {
  Bench bench(200_MiB, {.conf = "max_split_size_mb:40"});
  for (const std::size_t bytes : {44_MiB, 72_MiB, 80_MiB}) bench.take(bytes);
  bench.give_all();
  bench.decisions.clear();
  bench.take(48_MiB);
  EXPECT_THAT(bench.decisions, ElementsAre("free 75497472 @46137344", "alloc 50331648 @205520896"));
}

TEST(CachingSettings, KeepWhatWasReleasedInVainReleased) {
  Bench bench(100_MiB, {.conf = "max_split_size_mb:40"});
  bench.take(44_MiB);
  bench.take(30_MiB);
  bench.give_all();
  bench.decisions.clear();
  EXPECT_THROW(bench.take(101_MiB), OutOfMemory);
  EXPECT_THAT(bench.decisions, ElementsAre("free 46137344 @0", "free 31457280 @46137344", "oom 105906176"));
}

TEST(CachingSettings, NeverLendAnOversizeBlockToASmallerRequestOrOneMuchTooLarge) {
  Bench bench(64_GiB, {.conf = "max_split_size_mb:40"});
  bench.take(64_MiB);
  bench.give(0);
  bench.take(20_MiB);
  bench.take(44_MiB);
  EXPECT_THAT(bench.decisions,
              ElementsAre("alloc 67108864 @0", "alloc 20971520 @67108864", "alloc 46137344 @88080384"));
  EXPECT_EQ(bench.take(45_MiB), 0u) << "64 < 45 + 20";
  EXPECT_THAT(bench.caching.free_blocks(), IsEmpty()) << "an oversize block is lent whole";
}

TEST(CachingSettings, AllowMoreRoundingOfOversizeBlocksWhenAsked) {
  Bench bench(64_GiB, {.conf = "max_non_split_rounding_mb:64,max_split_size_mb:40"});
  bench.take(100_MiB);
  bench.give(0);
  EXPECT_EQ(bench.take(44_MiB), 0u);
}

TEST(CachingSettings, CollectEveryBlockOfAverageAgeBeforeBorrowing) {
  Bench bench(64_GiB, {.conf = "garbage_collection_threshold:0.5", .cap_bytes = 120_MiB});
  bench.take(40_MiB);
  bench.take(40_MiB);
  bench.give_all();
  bench.decisions.clear();
  bench.take(50_MiB);
  EXPECT_THAT(bench.decisions,
              ElementsAre("free 41943040 @0", "free 41943040 @41943040", "alloc 52428800 @83886080"))
      << "both are of one age, although one would do";
  EXPECT_EQ(bench.caching.retries(), 0u);
}

TEST(CachingSettings, CollectNothingWithoutACap) {
  Bench bench(64_GiB, {.conf = "garbage_collection_threshold:0.01"});
  bench.take(40_MiB);
  bench.give(0);
  bench.take(50_MiB);
  EXPECT_THAT(bench.decisions, ElementsAre("alloc 41943040 @0", "alloc 52428800 @41943040"));
}

TEST(CachingSettings, RefuseWhatTheCapDoesNotAllowWithoutADriverCall) {
  Bench bench(64_GiB, {.cap_bytes = 60_MiB});
  bench.take(40_MiB);
  EXPECT_THROW(bench.take(21_MiB), OutOfMemory);
  EXPECT_EQ(bench.device.mallocs(), 1u);
  EXPECT_THAT(bench.decisions, ElementsAre("alloc 41943040 @0", "oom 22020096"));
  EXPECT_EQ(bench.caching.retries(), 1u);
  EXPECT_EQ(bench.caching.reserved_bytes(), 41943040u);
  EXPECT_EQ(bench.take(20_MiB), 40_MiB) << "the cap itself is allowed";
}

TEST(CachingSettings, TakeAFractionOfTheDeviceForTheCap) {
  Bench bench(100_MiB, {.conf = "per_process_memory_fraction:0.5"});
  bench.take(50_MiB);
  EXPECT_THROW(bench.take(1), OutOfMemory);
  Bench whole(100_MiB, {.conf = "per_process_memory_fraction:1.0,garbage_collection_threshold:0.1"});
  whole.take(50_MiB);
  whole.give(0);
  EXPECT_EQ(whole.take(30_MiB), 0u) << "all of the device is no cap, so nothing is collected";
}

TEST(CachingSettings, RejectAtOnceWhatTheDriverMustNotBeAskedFor) {
  Bench bench(100_MiB,
              {.conf = "throw_on_cudamalloc_oom:True,per_process_memory_fraction:0.5", .cap_bytes = 100_MiB});
  bench.take(30_MiB);
  bench.give(0);
  EXPECT_THROW(bench.take(40_MiB), OutOfMemory);
  EXPECT_THAT(bench.decisions, ElementsAre("alloc 31457280 @0")) << "no retry and no oom is recorded";
  EXPECT_EQ(bench.caching.rejections(), 1u);
  EXPECT_EQ(bench.caching.ooms(), 0u);
}

TEST(CachingSettings, GrowAnExpandableSegmentByWholePages) {
  Bench bench(64_GiB, {.conf = "expandable_segments:True"});
  bench.take(2_MiB);
  bench.give(0);
  EXPECT_EQ(bench.take(32_MiB), 0u);
  EXPECT_THAT(bench.decisions, ElementsAre("map 20971520 @0", "map 20971520 @20971520"));
  EXPECT_EQ(bench.caching.active_bytes(), 32_MiB);
  ASSERT_EQ(bench.caching.free_blocks().size(), 1u);
  EXPECT_EQ(bench.caching.free_blocks()[0].bytes, 8_MiB);
}

TEST(CachingSettings, UnmapOnlyPagesThatAreWhollyFree) {
  Bench bench(64_GiB, {.conf = "expandable_segments:True"});
  bench.take(50_MiB);
  bench.take(10_MiB);
  bench.give(0);
  EXPECT_EQ(bench.caching.trim(), 40_MiB);
  EXPECT_THAT(bench.decisions, ElementsAre("map 62914560 @0", "unmap 41943040 @0"));
  EXPECT_EQ(bench.caching.reserved_bytes(), 20971520u);
  EXPECT_EQ(bench.device.used_bytes(), 20_MiB);
  bench.give(50_MiB);
  EXPECT_EQ(bench.caching.trim(), 20_MiB);
  EXPECT_EQ(bench.device.reservations(), 0u) << "a segment with nothing mapped gives its addresses back";
}

TEST(CachingSettings, UseAHoleInAnExpandableSegmentAgain) {
  Bench bench(64_GiB, {.conf = "expandable_segments:True"});
  bench.take(60_MiB);
  bench.take(20_MiB);
  bench.give(0);
  bench.caching.trim();
  bench.decisions.clear();
  EXPECT_EQ(bench.take(50_MiB), 0u);
  EXPECT_THAT(bench.decisions, ElementsAre("map 62914560 @0"));
}

TEST(CachingSettings, FailAGrowthInOneMapCallWholeAndKeepEarlierMaps) {
  Bench bench(44_MiB, {.conf = "expandable_segments:True"});
  bench.take(18_MiB);
  EXPECT_THROW(bench.take(50_MiB), OutOfMemory);
  EXPECT_EQ(bench.caching.reserved_bytes(), 20971520u);
  EXPECT_EQ(bench.caching.retries(), 1u);
  EXPECT_EQ(bench.device.used_bytes(), 20_MiB) << "pages made for the failed map went back";
  EXPECT_THAT(bench.decisions, ElementsAre("map 20971520 @0", "oom 52428800"));
  EXPECT_EQ(bench.device.peek_last_error(), Status::success);
}

TEST(CachingSettings, PassOnAnErrorOfAMapCallWithNothingMapped) {
  for (Status ScriptedDevice::*call :
       {&ScriptedDevice::mem_create_answer, &ScriptedDevice::mem_map_answer,
        &ScriptedDevice::mem_set_access_answer, &ScriptedDevice::address_reserve_answer}) {
    Bench bench(64_GiB, {.conf = "expandable_segments:True"});
    bench.device.*call = Status::invalid_value;
    EXPECT_THROW(bench.take(50_MiB), DeviceError);
    EXPECT_EQ(bench.device.used_bytes(), 0u);
    EXPECT_EQ(bench.device.mapped_pages(), 0u);
    EXPECT_EQ(bench.device.peek_last_error(), Status::success);
    bench.device.*call = Status::memory_allocation;
    EXPECT_THROW(bench.take(50_MiB), OutOfMemory);
    EXPECT_EQ(bench.device.used_bytes(), 0u);
    bench.device.*call = Status::success;
    EXPECT_EQ(bench.take(50_MiB) % 2_MiB, 0u);
    bench.give_all();
    bench.caching.trim();
    EXPECT_EQ(bench.device.used_bytes(), 0u);
  }
}

TEST(CachingSettings, GiveAPageBackThoughItsUnmappingReportsAnError) {
  Bench bench(64_GiB, {.conf = "expandable_segments:True"});
  bench.take(50_MiB);
  bench.give(0);
  bench.device.mem_unmap_answer = Status::invalid_value;
  EXPECT_EQ(bench.caching.trim(), 60_MiB);
  EXPECT_EQ(bench.caching.reserved_bytes(), 0u);
  EXPECT_EQ(bench.device.used_bytes(), 0u);
  EXPECT_EQ(bench.device.peek_last_error(), Status::success);
  EXPECT_EQ(bench.take(50_MiB) % 2_MiB, 0u);
}

TEST(CachingSettings, RefuseToBorrowOverAnErrorThatWaitsAndClearIt) {
  Bench bench(64_GiB, {.heeds_last_error = true});
  bench.take(1_MiB);
  bench.device.free_answer = Status::invalid_value;
  (void)bench.device.free(nullptr);
  EXPECT_EQ(bench.take(512), 1_MiB) << "what is cached is lent all the same";
  EXPECT_THROW(bench.take(12_MiB), DeviceError);
  EXPECT_EQ(bench.caching.reserved_bytes(), 2_MiB);
  bench.take(12_MiB);
}

TEST(CachingSettings, RoundRequestsByDivisionsOfAPowerOfTwo) {
  Bench bench(64_GiB, {.conf = "roundup_power2_divisions:4"});
  const auto rounded = [&](std::size_t bytes) {
    const std::size_t before = bench.caching.active_bytes();
    bench.take(bytes);
    return bench.caching.active_bytes() - before;
  };
  EXPECT_EQ(rounded(1200), 1536u);
  EXPECT_EQ(rounded(2048), 2048u);
  EXPECT_EQ(rounded(2049), 2560u);
  EXPECT_EQ(rounded(84_MiB), 100663296u);
  EXPECT_EQ(rounded(5_MiB + 1), 6291456u);
}

}  // namespace
}  // namespace drought
