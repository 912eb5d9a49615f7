// What the scenarios of scenarios/span_cover cannot see from outside: what a partial map keeps after a
// call that failed in the middle.
#include "scenarios/span_cover/partial_map.hpp"

#include <gtest/gtest.h>

#include "scenarios/catalogue.hpp"

namespace drought {
namespace {

constexpr const char* kScenario = R"(
title = "a partial map"
guards = "none"
[device]
profile = "dgx-spark-128g"
[workload]
kind = "span_map"
)";

/// A rig with a partial map of two spans, a fault at will.
class PartialMapTest : public testing::Test {
 protected:
  PartialMapTest()
      : scenario_(read_scenario(parse_toml(kScenario, "partial_map_test.toml"), all_catalogues())),
        rig_(scenario_, all_catalogues(), {}),
        file_(64_KiB) {}

  void SetUp() override {
    map_.emplace(rig_, PartialMap::Options{.stage_bytes = 1_KiB,
                                           .arena = {.chunk_bytes = 8_KiB, .bytes_max = 24_KiB}});
    ASSERT_TRUE(map_->set_map(file_, {{100, 5000}, {20'000, 30'000}}));
  }
  void strike(std::string kind, std::string site, std::uint64_t nth) {
    FaultSection fault;
    fault.kind = std::move(kind);
    fault.when.site = std::move(site);
    fault.when.nth = nth;
    rig_.arm(fault, true);
  }
  PartialMap::Answer resolve(std::uint64_t offset, std::uint64_t bytes) {
    return map_->resolve(file_.base(), offset, bytes);
  }

  const Scenario scenario_;
  Rig rig_;
  ModelFile file_;
  std::optional<PartialMap> map_;
};

TEST_F(PartialMapTest, GivesArenaRoomBackWhenTheCopyIntoItFails) {
  map_->allow({MapPath::fd_cache});
  ASSERT_TRUE(resolve(100, 1000).granted);
  const std::uint64_t before = map_->digest();
  strike("error_code", "cudaMemcpy", 2);
  EXPECT_THROW(resolve(2000, 3000), DeviceError);
  EXPECT_EQ(map_->digest(), before);
  EXPECT_TRUE(resolve(2000, 3000).granted);
}

TEST_F(PartialMapTest, TakesNoMoreForTheArenaThanItsLimitWhateverIsAsked) {
  map_->allow({MapPath::cached, MapPath::fd_cache});
  for (std::uint64_t offset = 20'480; offset + 3000 <= 49'000; offset += 3000) (void)resolve(offset, 3000);
  EXPECT_LE(rig_.ledger().live_bytes(), 24_KiB);
  EXPECT_GT(rig_.ledger().live_bytes(), 8_KiB);
  const PartialMap::Answer answer = resolve(21'000, 20'000);
  EXPECT_FALSE(answer.granted);
  EXPECT_FALSE(answer.refused) << "no room is not the same as outside the spans";
}

TEST_F(PartialMapTest, KeepsNoImageWhenTheSecondRegionDoesNotFit) {
  strike("out_of_memory", "cudaMalloc", 2);
  const std::uint64_t before = map_->digest();
  EXPECT_THROW(map_->own_regions(), OutOfMemory);
  EXPECT_EQ(map_->digest(), before);
  EXPECT_EQ(rig_.ledger().live_bytes(), 0u);
}

TEST_F(PartialMapTest, AsksOnceWhenPagesCannotBeRegisteredAndAgainOnTheNextMap) {
  FaultSection fault;
  fault.kind = "error_code";
  fault.options.add({"error", {}, {std::string("cudaErrorNotSupported"), {}}});
  fault.when.site = "cudaHostRegister";
  rig_.arm(fault, true);
  map_->register_regions();
  EXPECT_EQ(rig_.plan().armed().back().struck, 1u);
  ASSERT_TRUE(map_->set_map(file_, {{0, 1}}));
  map_->register_regions();
  EXPECT_EQ(rig_.plan().armed().back().struck, 2u);
  EXPECT_EQ(map_->registered_bytes(), 0u);
}

TEST_F(PartialMapTest, RegistersEachPageOnceWhenRangesShareIt) {
  map_->allow({MapPath::register_range});
  for (std::uint64_t offset = 20'000; offset < 50'000; offset += 900)
    ASSERT_TRUE(resolve(offset, 100).granted);
  ASSERT_TRUE(resolve(20'000, 30'000).granted);
  EXPECT_EQ(map_->registered_bytes(), round_up(50'000, 4096) - round_down(20'000, 4096));
  EXPECT_TRUE(rig_.record().fallbacks.empty());
}

TEST(MapDefects, AreRefusedByAListOfTheKnownOnes) {
  EXPECT_THROW(MapDefects::named("no_such", ""), std::invalid_argument);
  EXPECT_THROW(MapDefects::named("none", "no_such"), std::invalid_argument);
  EXPECT_THROW(MapDefects::named("none", "cached"), std::invalid_argument);
  for (int i = 0; i < map_path_count; ++i) {
    EXPECT_EQ(map_path_named(name(static_cast<MapPath>(i))), static_cast<MapPath>(i));
  }
}

}  // namespace
}  // namespace drought
