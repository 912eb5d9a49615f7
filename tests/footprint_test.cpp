// The addresses lie to each other as an H200's driver laid them.
#include "harness/device/footprint.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace drought {
namespace {

const void* at(std::uintptr_t address) { return reinterpret_cast<const void*>(address); }
constexpr std::uintptr_t kBase = 0x7f'4c00'0000;

TEST(Footprint, ChargesOneChunkForManySmallBlocksUntilTheLastOfThemGoes) {
  Footprint footprint(profile_named("h200"));
  EXPECT_EQ(footprint.add(at(kBase), 1), 2_MiB);
  EXPECT_EQ(footprint.add(at(kBase + 512), 64_KiB), 0u);
  EXPECT_EQ(footprint.add(at(kBase + 1_MiB), 1_MiB), 0u);
  EXPECT_EQ(footprint.add(at(kBase + 2_MiB), 1_MiB), 2_MiB);
  EXPECT_EQ(footprint.bytes(), 4_MiB);
  footprint.remove(at(kBase));
  footprint.remove(at(kBase + 512));
  EXPECT_EQ(footprint.bytes(), 4_MiB) << "a chunk went while a block lived in it";
  footprint.remove(at(kBase + 1_MiB));
  EXPECT_EQ(footprint.bytes(), 2_MiB);
}

TEST(Footprint, RoundsABlockAboveAGranuleUpToWholeOnes) {
  Footprint footprint(profile_named("h200"));
  EXPECT_EQ(footprint.add(at(kBase), 1_MiB + 1), 2_MiB);
  EXPECT_EQ(footprint.add(at(kBase + 2_MiB), 2_MiB + 1), 4_MiB);
  EXPECT_EQ(footprint.add(at(kBase + 6_MiB), 33_MiB), 34_MiB);
  EXPECT_EQ(footprint.bytes(), 40_MiB);
  footprint.remove(at(kBase + 2_MiB));
  EXPECT_EQ(footprint.bytes(), 36_MiB);
}

TEST(Footprint, ChargesNothingForABlockAboveOneMiBThatFindsRoomInAPaidGranule) {
  Footprint footprint(profile_named("h200"));
  EXPECT_EQ(footprint.add(at(kBase), 681), 2_MiB);
  EXPECT_EQ(footprint.add(at(kBase + 1024), 1'758'031), 0u);
  footprint.remove(at(kBase));
  EXPECT_EQ(footprint.bytes(), 2_MiB);
  footprint.remove(at(kBase + 1024));
  EXPECT_EQ(footprint.bytes(), 0u);
}

TEST(Footprint, ChargesAGranuleThatTwoBlocksMeetInOnce) {
  Footprint footprint(profile_named("h200"));
  EXPECT_EQ(footprint.add(at(kBase), 7_MiB), 8_MiB);
  EXPECT_EQ(footprint.add(at(kBase + 7_MiB), 512_KiB), 0u);
  footprint.remove(at(kBase));
  EXPECT_EQ(footprint.bytes(), 2_MiB);
}

TEST(Footprint, KeepsItsSumWhenABlockItNeverSawIsFreed) {
  Footprint footprint(profile_named("h200"));
  footprint.add(at(kBase), 3_MiB);
  footprint.remove(at(kBase + 1));
  footprint.remove(nullptr);
  EXPECT_EQ(footprint.bytes(), 4_MiB);
}

TEST(Footprint, SaturatesWhereRoundingUpWouldWrap) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(Footprint(profile_named("h200")).cost_alone(kMost - 5), kMost);
}

}  // namespace
}  // namespace drought
