// LightLLM's token slots: the stack's order, runs, what a wrong free does and does not do, and drawn calls
// beside a model, with the invariants of a KV cache after each.
#include "allocators/kv_slots.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <set>

#include "allocators/direct.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Slot = KvSlots::Slot;

struct Bench {
  explicit Bench(std::size_t slots, const std::string& bug = "none", std::size_t slot_bytes = 1024)
      : direct(device, {}), kv(direct, {.slots = slots, .slot_bytes = slot_bytes, .bug = bug}) {
    kv.mirror_to(&mirror);
  }
  void give(std::vector<Slot> list) { kv.free(list); }
  /// The first slot of a run.
  Slot run(std::size_t slots) {
    return static_cast<Slot>(device.offset_of(kv.allocate({.bytes = slots * 1024})) / 1024);
  }
  void give_run(Slot first) { kv.deallocate(kv.address_of(first), {.bytes = 1}); }

  ScriptedDevice device;
  Direct direct;
  KvSlots kv;
  std::size_t mirror = 0;
};

TEST(KvSlots, BorrowsARowMoreThanItHasSlotsAndNeverLendsIt) {
  Bench bench(8);
  EXPECT_EQ(bench.device.used_bytes(), 9 * 1024u);
  EXPECT_EQ(bench.kv.hold_slot(), 8u);
  EXPECT_THAT(bench.kv.slots(8), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THROW(bench.kv.slots(1), OutOfMemory);
  EXPECT_EQ(bench.kv.address_of(8),
            static_cast<std::byte*>(reinterpret_cast<void*>(ScriptedDevice::kBase)) + 8192);
}

TEST(KvSlots, LendsTheSlotsThatWereFreedLastInTheOrderInWhichTheyWereGiven) {
  Bench bench(8);
  (void)bench.kv.slots(6);
  bench.give({4, 1});
  bench.give({3});
  EXPECT_THAT(bench.kv.slots(4), ElementsAre(3, 4, 1, 6));
}

TEST(KvSlots, TakesNothingWhenFewerSlotsAreFreeThanAreAskedFor) {
  Bench bench(4);
  EXPECT_THAT(bench.kv.slots(1), ElementsAre(0));
  try {
    (void)bench.kv.slots(4);
    FAIL() << "four of three";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("4 slots: 3 are free"));
  }
  EXPECT_EQ(bench.kv.can_use(), 3u);
  EXPECT_THAT(bench.kv.slots(3), ElementsAre(1, 2, 3));
}

TEST(KvSlots, TakesTheLowestRunForABlockOfSeveralSlotsAndTheTopOfTheStackForOne) {
  Bench bench(10);
  (void)bench.kv.slots(10);
  bench.give({7, 8, 9});
  bench.give({3, 2});
  bench.give({0});
  EXPECT_EQ(bench.run(2), 2u);
  EXPECT_EQ(bench.run(3), 7u);
  EXPECT_EQ(bench.run(1), 0u);
  bench.give_run(7);
  bench.give({5});
  EXPECT_EQ(bench.run(1), 5u) << "the slot that was freed last";
}

TEST(KvSlots, FailsForWantOfNeighboursThoughEnoughSlotsAreFree) {
  Bench bench(6);
  (void)bench.kv.slots(6);
  bench.give({0, 2, 4});
  try {
    bench.run(2);
    FAIL() << "no two neighbours are free";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("2 slots in a row: 3 are free, the longest run has 1"));
  }
  EXPECT_THAT(bench.kv.slots(2), ElementsAre(0, 2)) << "a list needs no neighbours";
}

TEST(KvSlots, RefusesAWholeListForOneSlotThatIsNotLent) {
  Bench bench(4);
  (void)bench.kv.slots(3);
  EXPECT_EQ(bench.run(1), 3u);
  for (const std::vector<Slot>& wrong :
       {std::vector<Slot>{1, 1}, {0, 3}, {2, 4}, {2, 5}, {0, 1, 2, 0}, {~Slot{0}}}) {
    EXPECT_THROW(bench.kv.free(wrong), std::invalid_argument);
    EXPECT_EQ(bench.kv.can_use(), 0u);
    EXPECT_EQ(bench.kv.broken_invariant(), "");
  }
  bench.give({2, 0, 1});
  EXPECT_THROW(bench.give({1}), std::invalid_argument);
  EXPECT_THAT(bench.kv.slots(3), ElementsAre(2, 0, 1));
}

TEST(KvSlots, RefusesARunThatItDoesNotKnow) {
  Bench bench(4);
  const Slot first = bench.run(2);
  bench.give_run(first + 1);
  bench.give_run(first);
  bench.give_run(first);
  EXPECT_EQ(bench.kv.refused_frees(), 2u);
  EXPECT_EQ(bench.kv.can_use(), 4u);
  EXPECT_EQ(bench.kv.broken_invariant(), "");
}

TEST(KvSlots, MirrorsWhatIsFreeAfterEachCallAndForTheLiveGenerationOnly) {
  Bench bench(8);
  EXPECT_EQ(bench.mirror, 8u);
  const std::vector<Slot> held = bench.kv.slots(3);
  EXPECT_EQ(bench.mirror, 5u);
  const Slot run = bench.run(2);
  EXPECT_EQ(bench.mirror, 3u);
  bench.give_run(run);
  EXPECT_EQ(bench.mirror, 5u);
  bench.kv.free(held);
  EXPECT_EQ(bench.mirror, 8u);
  (void)bench.kv.slots(1);
  Bench next(2);
  next.kv.mirror_to(&bench.mirror);
  bench.kv.mirror_to(nullptr);
  bench.kv.free_all();
  EXPECT_EQ(bench.mirror, 2u) << "nothing but the next generation's own calls writes it";
  (void)next.kv.slots(2);
  EXPECT_EQ(bench.mirror, 0u);
}

TEST(KvSlots, StartsAfreshWithSlotsInRisingOrderWhenAllAreFreed) {
  Bench bench(4);
  (void)bench.kv.slots(3);
  bench.give({1});
  bench.run(1);
  bench.kv.free_all();
  EXPECT_EQ(bench.kv.broken_invariant(), "");
  EXPECT_THAT(bench.kv.slots(4), ElementsAre(0, 1, 2, 3));
}

TEST(KvSlots, AlignsAsEverySlotIsAlignedAndRefusesMore) {
  Bench odd(4, "none", 800);
  EXPECT_NO_THROW((void)odd.kv.allocate({.bytes = 1, .alignment = 32}));
  EXPECT_THROW((void)odd.kv.allocate({.bytes = 1, .alignment = 64}), std::invalid_argument);
  EXPECT_THROW((void)odd.kv.allocate({.bytes = 0, .alignment = 1}), std::invalid_argument);
  EXPECT_THROW((void)odd.kv.allocate({.bytes = ~std::size_t{0}, .alignment = 1}), OutOfMemory);
  EXPECT_THROW(Bench(0), std::invalid_argument);
  EXPECT_THROW(Bench(std::size_t{1} << 31), std::invalid_argument);
  EXPECT_THROW(Bench(4, "some"), std::invalid_argument);
}

// What LightLLM's free() does with such a list, seen by the invariants.
TEST(KvSlots, HandsASlotThatWasFreedTwiceToTwoRequestsWhereFreesAreNotChecked) {
  Bench bench(6, "unchecked_free");
  const std::vector<Slot> first = bench.kv.slots(3);
  (void)bench.kv.slots(3);
  bench.kv.free(first);
  EXPECT_EQ(bench.kv.broken_invariant(), "");
  bench.kv.free(first);
  EXPECT_NE(bench.kv.broken_invariant(), "");
}

TEST(KvSlots, IsSeenToIssueItsHoldRow) {
  Bench bench(4, "hold_issued");
  EXPECT_EQ(bench.kv.broken_invariant(), "the hold row is free");
  EXPECT_THAT(bench.kv.slots(5), testing::Contains(bench.kv.hold_slot()));
  EXPECT_EQ(bench.kv.broken_invariant(), "the hold row is lent");
}

using Drawn = std::tuple<std::uint8_t, std::uint8_t>;

/// Requests and a radix tree hold lists; a finished request leaves its list to the tree.
TEST(KvSlots, AgreesWithAStackOverAnyOrderOfCalls) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls) {
    constexpr Slot kSlots = 24;
    Bench bench(kSlots);
    std::deque<Slot> stack;
    for (Slot slot = 0; slot < kSlots; ++slot) stack.push_back(slot);
    std::vector<std::vector<Slot>> requests, tree, runs;
    const auto count = [](const std::vector<std::vector<Slot>>& lists) {
      std::size_t slots = 0;
      for (const auto& list : lists) slots += list.size();
      return slots;
    };
    const auto give_back = [&](std::vector<std::vector<Slot>>& lists, std::size_t which) {
      const std::vector<Slot> list = lists[which % lists.size()];
      lists.erase(lists.begin() + static_cast<std::ptrdiff_t>(which % lists.size()));
      stack.insert(stack.begin(), list.begin(), list.end());
      return list;
    };
    for (const auto& [what, which] : calls) {
      const std::size_t wanted = 1 + which % 6;
      if (what % 6 == 0 && !requests.empty()) {
        tree.push_back(requests.back());
        requests.pop_back();
      } else if (what % 6 == 1 && !tree.empty()) {
        bench.kv.free(give_back(tree, which));
      } else if (what % 6 == 2 && !requests.empty()) {
        bench.kv.free(give_back(requests, which));
      } else if (what % 6 == 3 && !runs.empty()) {
        bench.give_run(give_back(runs, which).front());
      } else if (what % 6 == 4) {
        const std::set<Slot> free(stack.begin(), stack.end());
        std::optional<Slot> first;
        for (Slot slot = 0; slot + wanted <= kSlots && !first; ++slot) {
          std::size_t length = 0;
          while (length < wanted && free.contains(slot + static_cast<Slot>(length))) ++length;
          if (length == wanted) first = slot;
        }
        if (first && wanted == 1) first = stack.front();
        std::optional<Slot> got;
        try {
          got = bench.run(wanted);
        } catch (const OutOfMemory&) {
        }
        RC_ASSERT(got == first);
        if (!got) continue;
        runs.emplace_back();
        for (Slot slot = *got; slot < *got + wanted; ++slot) {
          runs.back().push_back(slot);
          std::erase(stack, slot);
        }
      } else if (wanted > stack.size()) {
        RC_ASSERT_THROWS_AS(bench.kv.slots(wanted), OutOfMemory);
      } else {
        const std::vector<Slot> expected(stack.begin(), stack.begin() + static_cast<std::ptrdiff_t>(wanted));
        stack.erase(stack.begin(), stack.begin() + static_cast<std::ptrdiff_t>(wanted));
        RC_ASSERT(bench.kv.slots(wanted) == expected);
        requests.push_back(expected);
      }
      RC_ASSERT(bench.kv.broken_invariant() == "");
      RC_ASSERT(bench.mirror == stack.size());
      RC_ASSERT(bench.mirror + count(tree) + count(requests) + count(runs) == kSlots);
    }
  }));
}

}  // namespace
}  // namespace drought
