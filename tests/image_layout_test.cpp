// Where an image's patches and tokens lie, by the published models' own conventions.
#include "scenarios/models/image_layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drought {
namespace {

using testing::ElementsAre;

/// Four rows of six patches, in windows of 4 x 4 and tokens of 2 x 2.
ImageLayout narrow() { return {VisionTower{.merge = 2, .window = 4}, 24}; }

TEST(ImageLayout, TakesWindowsThenTokensThenPatches) {
  const ImageLayout layout = narrow();
  EXPECT_EQ(layout.rows(), 4u);
  EXPECT_EQ(layout.columns(), 6u);
  EXPECT_THAT(layout.patch_order(), ElementsAre(0, 1, 6, 7, 2, 3, 8, 9, 12, 13, 18, 19, 14, 15, 20, 21,  //
                                                4, 5, 10, 11, 16, 17, 22, 23));
  EXPECT_THAT(layout.token_order(), ElementsAre(0, 1, 3, 4, 2, 5)) << "not its own inverse";
  EXPECT_THAT(layout.window_starts(), ElementsAre(0, 16, 24));
}

TEST(ImageLayout, HasOneWindowWhereTheTowerHasNone) {
  const ImageLayout layout(VisionTower{.merge = 2}, 24);
  EXPECT_THAT(layout.token_order(), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(layout.window_starts(), ElementsAre(0, 24));
}

TEST(ImageLayout, CutsWindowsAtBothEdges) {
  const ImageLayout layout(VisionTower{.merge = 2, .window = 4}, 60);  // 6 x 10 patches.
  EXPECT_THAT(layout.window_starts(), ElementsAre(0, 16, 32, 40, 48, 56, 60));
}

TEST(ImageLayout, PlacesEachPatchByItsRowAndColumnInTheTowersOrder) {
  const std::vector<std::int32_t> positions = narrow().patch_positions();
  ASSERT_EQ(positions.size(), 48u);
  EXPECT_EQ(positions[8], 2) << "patch 12 begins the third row";
  EXPECT_EQ(positions[24 + 8], 0);
  EXPECT_EQ(positions[23], 3);
  EXPECT_EQ(positions[24 + 23], 5);
}

TEST(TokenPositions, CountTokensWherePositionsAreOfText) {
  const ImageLayout image = narrow();
  EXPECT_THAT(token_positions({.positions = "text"}, &image, 5, 3), ElementsAre(5, 6, 7));
}

/// Two rows of three tokens, then text from 3 on: transformers' get_rope_index.
TEST(TokenPositions, GoOnBehindTheLongerSideOfAnImage) {
  const ImageLayout image = narrow();
  const Rope::Shape rope{.positions = "m-rope", .sections = {8, 12, 12}};
  EXPECT_THAT(token_positions(rope, &image, 0, 8), ElementsAre(0, 0, 0, 0, 0, 0, 3, 4,  //
                                                               0, 0, 0, 1, 1, 1, 3, 4,  //
                                                               0, 1, 2, 0, 1, 2, 3, 4));
  EXPECT_THAT(token_positions(rope, &image, 20, 1), ElementsAre(17, 17, 17)) << "of a decode step";
  EXPECT_THAT(token_positions(rope, nullptr, 20, 1), ElementsAre(20, 20, 20));
}

}  // namespace
}  // namespace drought
