// RMM's pool: its rules one by one, the two reports of pools that cannot reach their maximum to the byte,
// and drawn calls beside a model that searches plain lists.
#include "allocators/pool.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "allocators/direct.hpp"
#include "tests/pool_model.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A pool over a device of a given capacity; what it borrows is noted.
struct Bench final : Resource {
  explicit Bench(Pool::Options options, std::size_t capacity_bytes = 64_GiB)
      : device(capacity_bytes), direct(device, {}), pool(*this, device, options) {}

  void* allocate(Request request) override {
    asked.push_back(request.bytes);
    return direct.allocate(request);
  }
  void deallocate(void* block, Request request) noexcept override {
    ++given_back;
    direct.deallocate(block, request);
  }

  /// The block's offset.
  std::uint64_t take(std::size_t bytes, std::uint64_t stream = 0) {
    void* const block = pool.allocate({.bytes = bytes, .stream = {stream}});
    requests[device.offset_of(block)] = {.bytes = bytes, .stream = {stream}};
    return device.offset_of(block);
  }
  void* at(std::uint64_t offset) const { return reinterpret_cast<void*>(ScriptedDevice::kBase + offset); }
  void give(std::uint64_t offset) { pool.deallocate(at(offset), requests.at(offset)); }
  std::vector<std::size_t> holes() const {
    std::vector<std::size_t> bytes;
    for (const auto& block : pool.free_blocks()) bytes.push_back(block.bytes);
    return bytes;
  }

  std::vector<std::size_t> asked;
  std::size_t given_back = 0;
  ScriptedDevice device;
  Direct direct;
  Pool pool;
  std::map<std::uint64_t, Request> requests;
};

const Pool::Options report1664{.initial_bytes = 1'000'192, .maximum_bytes = 67'108'864};

Pool::Options with_reclaim(Pool::Options options, bool reclaims) {
  options.reclaims = reclaims;
  return options;
}

TEST(Pool, ServesFiveOfEightBlocksOfAnEighthOfItsMaximumBeforePr2470) {
  Bench bench(with_reclaim(report1664, false));
  for (int i = 0; i < 5; ++i) bench.take(8_MiB);
  try {
    bench.take(8_MiB);
    FAIL() << "the sixth block was served";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("8138496 B more; 17027328 B are idle"));
  }
  EXPECT_THAT(bench.asked, ElementsAre(1'000'192u, 33'054'336u, 16'527'232u, 8'388'608u));
  EXPECT_THAT(bench.holes(), testing::UnorderedElementsAre(1'000'192u, 7'888'512u, 8'138'624u));
  EXPECT_EQ(bench.pool.idle_bytes(), 17'027'328u);
  EXPECT_EQ(67'108'864u - bench.pool.reserved_bytes(), 8'138'496u);
}

TEST(Pool, ServesASixthBlockBecauseTheInitialOneGoesBackSincePr2470) {
  Bench bench(report1664);
  for (int i = 0; i < 6; ++i) bench.take(8_MiB);
  EXPECT_EQ(bench.given_back, 1u);
  EXPECT_THROW(bench.take(8_MiB), OutOfMemory);
  EXPECT_EQ(bench.given_back, 1u) << "nothing else is wholly free";
}

TEST(Pool, ReachesItsMaximumInOneBlockOnlyWhenItsInitialBlockCanGoBack) {
  const Pool::Options report1957{.initial_bytes = 256, .maximum_bytes = 1024};
  Bench before(with_reclaim(report1957, false));
  EXPECT_THROW(before.take(1024), OutOfMemory);
  EXPECT_EQ(before.pool.idle_bytes(), 256u) << "no byte is in use";
  Bench after(report1957);
  EXPECT_EQ(after.take(1024), 2_MiB);
  EXPECT_EQ(after.pool.reserved_bytes(), 1024u);
  Bench empty(with_reclaim({.initial_bytes = 0, .maximum_bytes = 1024}, false));
  EXPECT_EQ(empty.take(1024), 0u);
}

TEST(Pool, AsksForTheWholeDeviceWhenItsInitialBlockGrowsByTheRuleOfRmm015) {
  Pool::Options report471{.initial_bytes = 15'250'961'152, .maximum_bytes = 16'945'512'448};
  const std::size_t free_bytes = report471.maximum_bytes - 300_MiB;
  EXPECT_EQ(Bench(report471, free_bytes).pool.reserved_bytes(), report471.initial_bytes);
  report471.growth = "whole";
  try {
    Bench refused(report471, free_bytes);
    FAIL() << "more came than there is";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("15.78 GiB")) << "what upstream was asked for";
  }
}

TEST(Pool, HalvesItsGrowthUntilUpstreamHasRoomAndNeverBelowTheRequest) {
  Bench bench({.initial_bytes = 40_MiB}, 100_MiB);
  bench.take(40_MiB);
  bench.take(40_MiB);
  EXPECT_EQ(bench.take(7_MiB), 80_MiB);
  EXPECT_THAT(bench.asked, ElementsAre(40_MiB, 40_MiB, 80_MiB, 40_MiB, 20_MiB));
  EXPECT_THROW(bench.take(14_MiB), OutOfMemory);
  EXPECT_EQ(bench.asked.back(), 14_MiB);
  EXPECT_EQ(bench.take(13_MiB), 87_MiB);
}

TEST(Pool, TakesTheSmallestHoleThatFitsAndOfEqualOnesTheLowest) {
  Bench bench({.initial_bytes = 1_MiB});
  for (const std::size_t bytes : {1024, 256, 512, 256, 512, 256}) bench.take(bytes);
  bench.give(0);
  bench.give(1280);
  bench.give(2048);
  EXPECT_EQ(bench.take(300), 1280u);
  EXPECT_EQ(bench.take(512), 2048u);
  EXPECT_EQ(bench.take(1), 0u);
  EXPECT_EQ(bench.take(768), 256u) << "the rest of the first hole";
}

TEST(Pool, JoinsNeighboursOfOneStreamOnly) {
  Bench bench({.initial_bytes = 1024});
  for (const std::uint64_t stream : {0, 1, 0, 0}) bench.take(256, stream);
  for (const std::uint64_t offset : {0, 256, 512, 768}) bench.give(offset);
  EXPECT_THAT(bench.holes(), testing::UnorderedElementsAre(256u, 512u, 256u));
  EXPECT_EQ(bench.take(1024), 0u) << "merged lists join";
  EXPECT_EQ(bench.asked.size(), 1u);
}

TEST(Pool, WaitsForTheOtherStreamsLastFreeBeforeItTakesFromItsList) {
  Bench bench({.initial_bytes = 1024});
  bench.take(1024, 1);
  EXPECT_THAT(bench.device.waits, IsEmpty()) << "the initial block was never used";
  bench.give(0);
  EXPECT_EQ(bench.take(512, 2), 0u);
  EXPECT_THAT(bench.device.waits, ElementsAre("stream 2 for event 1"));
  EXPECT_EQ(bench.take(512, 1), 512u) << "the rest stayed in stream 1's list";
  EXPECT_EQ(bench.device.waits.size(), 1u);
}

TEST(Pool, RecordsTheMergingStreamsEventBehindItsWaits) {
  for (const bool stale : {false, true}) {
    Bench bench({.initial_bytes = 1024, .maximum_bytes = 1024, .bug = stale ? "stale_merge" : "none"});
    bench.take(1024, 1);
    bench.give(0);
    EXPECT_THROW(bench.take(2048, 2), OutOfMemory) << "stream 2 has merged stream 1's list by now";
    EXPECT_EQ(bench.take(1024, 3), 0u);
    EXPECT_EQ(bench.device.waits.size(), stale ? 1u : 2u) << "stream 3 waits for what stream 2 waited for";
    bench.give(0);
  }
}

TEST(Pool, TakesNothingWhenTheWaitCannotBeQueued) {
  Bench bench({.initial_bytes = 1024});
  bench.take(1024, 1);
  bench.give(0);
  bench.device.stream_wait_answer = Status::invalid_resource_handle;
  EXPECT_THROW(bench.take(1024, 2), DeviceError);
  EXPECT_THAT(bench.holes(), ElementsAre(1024u));
  EXPECT_EQ(bench.take(1024, 1), 0u);
}

TEST(Pool, WaitsForTheWholeDeviceWhenAFreeCouldNotBeRecorded) {
  for (const bool at_creation : {true, false}) {
    Bench bench({.initial_bytes = 1024});
    bench.take(1024, 1);
    (at_creation ? bench.device.event_create_answer : bench.device.event_record_answer) =
        Status::invalid_resource_handle;
    bench.give(0);
    EXPECT_THAT(bench.pool.take_fallback(), HasSubstr("waits for the device"));
    EXPECT_EQ(bench.pool.take_fallback(), "");
    bench.device.synchronize_answer = Status::launch_failure;
    EXPECT_THROW(bench.take(1024, 2), DeviceError);
    bench.device.synchronize_answer = Status::success;
    EXPECT_EQ(bench.take(1024, 2), 0u);
    EXPECT_EQ(bench.device.synchronizes(), 2u);
  }
}

TEST(Pool, RefusesWhatItCannotServeBeforeItChangesAnything) {
  Bench bench({.initial_bytes = 0});
  EXPECT_THROW(bench.take(0), std::invalid_argument);
  EXPECT_THROW(bench.take(~std::size_t{0}), OutOfMemory);
  EXPECT_THROW(bench.pool.allocate({.bytes = 1, .alignment = 512}), std::invalid_argument);
  bench.pool.deallocate(bench.at(0), {.bytes = 1});
  EXPECT_EQ(bench.pool.refused_frees(), 1u);
  EXPECT_THAT(bench.asked, IsEmpty());
  EXPECT_THROW(Bench({.initial_bytes = 100}), std::invalid_argument);
  EXPECT_THROW(Bench({.initial_bytes = 512, .maximum_bytes = 256}), std::invalid_argument);
  EXPECT_THROW(Bench({.growth = "quarter"}), std::invalid_argument);
  EXPECT_THROW(Bench({.bug = "some"}), std::invalid_argument);
}

TEST(Pool, LeavesALeakedBlocksUpstreamBlockBorrowedWhenItEnds) {
  ScriptedDevice device;
  Direct direct(device, {});
  {
    Pool pool(direct, device, {.initial_bytes = 1_MiB});
    (void)pool.allocate({.bytes = 1});
    void* const large = pool.allocate({.bytes = 3_MiB});
    pool.deallocate(large, {.bytes = 3_MiB});
  }
  EXPECT_EQ(device.used_bytes(), 1_MiB);
}

/// What to do and how large, in numbers that shrink towards nothing.
using Drawn = std::tuple<std::uint8_t, std::uint8_t, std::uint16_t>;

TEST(Pool, AgreesWithTheListsOfItsModelOverAnyOrderOfCalls) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls, bool has_maximum, bool reclaims) {
    const std::size_t maximum_bytes = has_maximum ? 256_KiB : 0;
    Bench bench({.initial_bytes = 16_KiB, .maximum_bytes = maximum_bytes, .reclaims = reclaims}, 512_KiB);
    PoolModel model(maximum_bytes, reclaims);
    model.borrowed(ScriptedDevice::kBase, 16_KiB, 0);
    std::vector<std::pair<std::uint64_t, std::size_t>> live;
    for (const auto& [what, which, size] : calls) {
      if (what % 5 < 2 && !live.empty()) {
        const auto [offset, bytes] = live[which % live.size()];
        live.erase(live.begin() + which % static_cast<std::ptrdiff_t>(live.size()));
        bench.give(offset);
        model.free(ScriptedDevice::kBase + offset, bytes, bench.requests.at(offset).stream.id);
      } else {
        const std::uint64_t stream = what / 8 % 3;
        const std::size_t bytes = 1 + size % (std::size_t{1} << (6 + which % 11));
        const std::size_t asked = bench.asked.size(), given_back = bench.given_back;
        std::optional<std::uint64_t> got;
        try {
          got = bench.take(bytes, stream);
        } catch (const OutOfMemory&) {
        }
        // The device lends upwards in steps of 2 MiB, so the pool's last borrowing ended there.
        std::size_t tries = bench.asked.size() - asked;
        const bool grew = got && tries != 0;
        const auto expected =
            model.allocate(bytes, stream, [&](std::size_t) -> std::optional<std::uintptr_t> {
              return --tries == 0 && grew ? std::optional(ScriptedDevice::kBase + *got) : std::nullopt;
            });
        RC_ASSERT(expected.address.has_value() == got.has_value());
        if (got) RC_ASSERT(*expected.address == ScriptedDevice::kBase + *got);
        const auto first = bench.asked.begin() + static_cast<std::ptrdiff_t>(asked);
        RC_ASSERT(expected.borrowed == std::vector<std::size_t>(first, bench.asked.end()));
        RC_ASSERT(expected.given_back == bench.given_back - given_back);
        if (got) live.emplace_back(*got, bytes);
      }
      RC_ASSERT(model.reserved() == bench.pool.reserved_bytes());
      std::set<std::pair<std::uintptr_t, std::size_t>> holes;
      for (const auto& block : bench.pool.free_blocks()) holes.emplace(block.address, block.bytes);
      RC_ASSERT(model.holes() == holes);
    }
    for (const auto& [offset, bytes] : live) bench.give(offset);
    RC_ASSERT(bench.pool.idle_bytes() == bench.pool.reserved_bytes());
    bench.pool.trim();
    RC_ASSERT(bench.device.used_bytes() == 0u);
  }));
}

}  // namespace
}  // namespace drought
