// The schedule that cuts a batch into equal parts, held to what the kernels and the workspace rely on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/decode_pieces.hpp"

namespace drought {
namespace {

struct Lengths {
  std::vector<std::int32_t> of;
  DecodeCut cut;
};

/// What a schedule promises: every tile of every unit in exactly one piece, no part with two tiles more than
/// another, slots that no two pieces share, and units that know their pieces.
void expect_sound(const Lengths& given) {
  const auto schedule = decode_schedule(given.of, given.cut);
  const std::size_t units = given.of.size() * given.cut.groups;
  ASSERT_EQ(schedule.size(), 2 * (given.cut.parts + 1 + units));
  const auto tiles_of = [&](std::size_t unit) {
    return DecodeKeys::of(given.of[unit / given.cut.groups], given.cut.window).tiles;
  };
  std::vector<std::vector<int>> seen(units);
  std::vector<bool> slot_taken(given.cut.parts + units);
  std::size_t least = SIZE_MAX, most = 0;
  for (std::size_t u = 0; u < units; ++u) seen[u].assign(static_cast<std::size_t>(tiles_of(u)), -1);
  for (std::size_t part = 0; part < given.cut.parts; ++part) {
    std::size_t work = 0;
    auto unit = static_cast<std::size_t>(schedule[2 * part]);
    const auto last = static_cast<std::size_t>(schedule[2 * part + 2]);
    for (int tile = schedule[2 * part + 1]; unit < last || (unit == last && tile < schedule[2 * part + 3]);
         ++unit, tile = 0) {
      ASSERT_LT(unit, units);
      ASSERT_FALSE(slot_taken[part + unit]);
      slot_taken[part + unit] = true;
      for (const int end = unit == last ? schedule[2 * part + 3] : tiles_of(unit); tile < end;
           ++tile, ++work) {
        ASSERT_EQ(seen[unit].at(static_cast<std::size_t>(tile)), -1) << "taken twice";
        seen[unit][static_cast<std::size_t>(tile)] = static_cast<int>(part);
      }
    }
    least = std::min(least, work), most = std::max(most, work);
  }
  if (given.cut.piece_tiles == 0) {
    EXPECT_LE(most, least + 1);
  }
  for (std::size_t u = 0; u < units; ++u) {
    EXPECT_EQ(schedule[2 * (given.cut.parts + 1 + u)], seen[u].front() + static_cast<int>(u));
    EXPECT_EQ(schedule[2 * (given.cut.parts + 1 + u) + 1], seen[u].back() - seen[u].front() + 1);
  }
}

TEST(DecodeSchedule, GivesEveryTileToOnePartAndEqualShares) {
  for (const std::size_t parts : {1, 2, 3, 16, 132, 1000})
    for (const std::size_t groups : {1, 3, 8})
      for (const int window : {0, 20, 333})
        for (const auto& lengths : std::vector<std::vector<std::int32_t>>{
                 {0}, {1}, {16}, {17}, {8192}, {0, 0, 5000, 0, 3}, {100, 200, 300, 400, 500, 15, 16}}) {
          SCOPED_TRACE(std::to_string(parts) + " parts, " + std::to_string(groups) + " groups, window " +
                       std::to_string(window) + ", " + std::to_string(lengths.size()) + " sequences");
          for (const int piece_tiles : {0, 1, 7, 300})
            ASSERT_NO_FATAL_FAILURE(expect_sound({lengths, {groups, parts, window, piece_tiles}}));
        }
}

}  // namespace
}  // namespace drought
