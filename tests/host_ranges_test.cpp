// The range set beside a plain map, over thousands of seeded steps.
#include "harness/device/host_ranges.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "harness/sched/random.hpp"

namespace drought {
namespace {

struct Model {
  std::map<std::uintptr_t, std::size_t> ranges;

  std::uintptr_t at_or_before(std::uintptr_t address) const {
    auto next = ranges.upper_bound(address);
    return next == ranges.begin() ? 0 : std::prev(next)->first;
  }
  std::uintptr_t at_or_after(std::uintptr_t address) const {
    const auto found = ranges.lower_bound(address);
    return found == ranges.end() ? 0 : found->first;
  }
  std::uintptr_t first_fit(std::size_t bytes) const {
    for (const auto& [begin, length] : ranges)
      if (length >= bytes) return begin;
    return 0;
  }
};

std::uintptr_t begin_of(const std::optional<AddressRange>& range) { return range ? range->begin : 0; }

TEST(RangeSet, AnswersAsAPlainMapDoesWhateverIsInsertedAndErased) {
  Random random(11);
  Model model;
  RangeSet set;
  for (int step = 0; step < 20'000; ++step) {
    const std::uintptr_t slot = 1000 + 100 * random.below(500);
    if (model.ranges.count(slot) != 0) {
      model.ranges.erase(slot);
      set.erase(slot);
    } else {
      const std::size_t bytes = 1 + random.below(100);
      model.ranges[slot] = bytes;
      set.insert({slot, bytes, slot * 3});
      ASSERT_EQ(set.at(slot)->value, slot * 3);
    }
    const std::uintptr_t asked = 900 + random.below(51'000);
    ASSERT_EQ(begin_of(set.at_or_before(asked)), model.at_or_before(asked));
    ASSERT_EQ(begin_of(set.at_or_after(asked)), model.at_or_after(asked));
    const std::uintptr_t before = model.at_or_before(asked);
    const bool inside = before != 0 && asked - before < model.ranges[before];
    ASSERT_EQ(begin_of(set.containing(asked)), inside ? before : 0);
    const std::size_t wanted = 1 + random.below(110);
    ASSERT_EQ(begin_of(set.first_fit(wanted)), model.first_fit(wanted)) << wanted;
    ASSERT_EQ(set.size(), model.ranges.size());
  }
}

TEST(Holes, JoinToOneHoleHoweverTheirPiecesComeBack) {
  Random random(5);
  Holes holes;
  holes.give(4096, 1 << 20);
  std::set<std::uintptr_t> taken;
  for (int step = 0; step < 5'000; ++step) {
    if (random.below(2) == 0) {
      const auto begin = holes.take(512);
      if (begin) {
        ASSERT_TRUE(taken.insert(*begin).second);
      }
    } else if (!taken.empty()) {
      auto given = taken.lower_bound(4096 + random.below(1 << 20));
      if (given == taken.end()) given = taken.begin();
      holes.give(*given, 512);
      taken.erase(given);
    }
  }
  for (const std::uintptr_t begin : taken) holes.give(begin, 512);
  EXPECT_EQ(holes.longest(), std::size_t{1} << 20);
  EXPECT_EQ(holes.take(1 << 20), std::uintptr_t{4096});
  EXPECT_FALSE(holes.take(1));
}

TEST(Holes, NeverJoinAcrossTheirBoundary) {
  Holes holes(1024);
  holes.give(2048, 1024);
  holes.give(1024, 1024);
  EXPECT_EQ(holes.longest(), 1024u);
  EXPECT_FALSE(holes.take(1025));
}

}  // namespace
}  // namespace drought
