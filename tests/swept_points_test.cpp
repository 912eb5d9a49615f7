// Which calls a sweep strikes: thinned so that a program that changes keeps its points, shared out, one for
// each call stack, two at once; and that workers come to what one process comes to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "harness/sweep/orders.hpp"
#include "harness/sweep/sweep.hpp"
#include "harness/work/crew.hpp"
#include "tests/scenario_text.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

Request of(Tag tag) { return {.bytes = 1_MiB, .tag = tag}; }

/// Fails each time a block is refused, and says which: what a sweep struck shows in its failures.
bool one_more = false;
class SaysWhatWasRefused final : public Workload {
 public:
  void run(Rig& rig) override {
    if (one_more) (void)block(rig, "another");
    for (int i = 0; i < 60; ++i) (void)block(rig, ("block " + std::to_string(i)).c_str());
  }

 private:
  static Buffer block(Rig& rig, const char* tag) {
    try {
      return Buffer(rig.memory(), of(Tag(tag)));
    } catch (const OutOfMemory&) {
      throw std::runtime_error(tag);
    }
  }
};

TEST(SweptPoints, StrikesTheSamePointsOfAProgramThatMakesOneMoreCall) {
  const auto struck = [](bool with_another) {
    one_more = with_another;
    const TestCatalogues catalogues({workload_line<SaysWhatWasRefused>("says")});
    const SweepResult result =
        sweep_scenario(scenario_of("[workload]\nkind = 'says'", catalogues.catalogues()),
                       catalogues.catalogues(), {.site = "allocate", .forever = false, .points_max = 20});
    std::set<std::string> said;
    for (const SweepFailure& failure : result.failures) said.insert(failure.message);
    return said;
  };
  const std::set<std::string> before = struck(false), after = struck(true);
  ASSERT_EQ(before.size(), 20u);
  std::vector<std::string> both;
  std::set_intersection(before.begin(), before.end(), after.begin(), after.end(), std::back_inserter(both));
  EXPECT_GE(both.size(), 19u) << "one call more displaces one point at most";
  const auto is_late = [](const std::string& tag) { return std::stoi(tag.substr(6)) >= 40; };
  EXPECT_GE(std::count_if(before.begin(), before.end(), is_late), 3) << "the first calls, and no sample";
}

/// Comes to the same call over four ways, one of them thirty times and one a caller deeper.
class CallsFromFourPlaces final : public Workload {
 public:
  void run(Rig& rig) override {
    for (int i = 0; i < 30; ++i) block(rig, ("loop " + std::to_string(i)).c_str());
    block(rig, "line");
    block(rig, "next line");
    through_another(rig);
  }

 private:
  [[gnu::noinline]] static void block(Rig& rig, const char* tag) {
    try {
      const Buffer block(rig.memory(), of(Tag(tag)));
    } catch (const OutOfMemory&) {
      throw std::runtime_error(tag);
    }
  }
  [[gnu::noinline]] static void through_another(Rig& rig) { block(rig, "deeper"); }
};

TEST(SweptPoints, OfUniqueStacksStrikesEachStackOnceAndWhatALoopCallsTheFirstTime) {
  const TestCatalogues catalogues({workload_line<CallsFromFourPlaces>("calls")});
  const Scenario scenario = scenario_of("[workload]\nkind = 'calls'", catalogues.catalogues());
  const auto struck = [&](bool unique) {
    const SweepResult result = sweep_scenario(scenario, catalogues.catalogues(),
                                              {.fault = "out_of_memory",
                                               .site = "cudaMalloc",
                                               .forever = false,
                                               .unique_stacks = unique,
                                               .all = true});
    std::multiset<std::string> said;
    for (const SweepFailure& failure : result.failures) said.insert(failure.message);
    return said;
  };
  EXPECT_EQ(struck(false).size(), 33u);
  EXPECT_EQ(struck(true), (std::multiset<std::string>{"deeper", "line", "loop 0", "next line"}));
}

/// Does without one block, and loses it when a second is refused as well: one strike never shows that.
class LosesABlockWhenTwoAreRefused final : public Workload {
 public:
  void run(Rig& rig) override {
    int refused = 0;
    for (const char* const tag : {"first", "second", "third"}) {
      try {
        const Buffer block(rig.memory(), of(Tag(tag)));
      } catch (const OutOfMemory&) {
        ++refused;
        rig.record().fallbacks.push_back("one block less");
      }
    }
    if (refused > 1) (void)rig.memory().allocate(of("lost"));
  }
};

TEST(SweptPoints, OfPairsFindsWhatOneStrikeDoesNot) {
  const TestCatalogues catalogues({workload_line<LosesABlockWhenTwoAreRefused>("loses")});
  const Scenario scenario = scenario_of("[workload]\nkind = 'loses'", catalogues.catalogues());
  EXPECT_TRUE(
      sweep_scenario(scenario, catalogues.catalogues(), {.site = "allocate", .forever = false}).good());
  const SweepResult pairs =
      sweep_scenario(scenario, catalogues.catalogues(), {.site = "allocate", .pairs = true});
  EXPECT_EQ(pairs.points, 3u);
  EXPECT_EQ(pairs.struck, 3u);
  ASSERT_EQ(pairs.failures.size(), 3u);
  EXPECT_EQ(pairs.failures.front().verdict, Verdict::leaked);
  EXPECT_THAT(pairs.failures.front().repeat, HasSubstr("--pairs --second "));
}

const char* const kShipped = R"([device]
capacity_bytes = "1 GiB"
work = "shapes"
[[resource]]
kind = "caching"
[workload]
kind = "churn"
allocations = 20
bytes_max = "1 MiB"
)";

TEST(SweptPoints, AreEachInExactlyOneShard) {
  one_more = false;
  const TestCatalogues catalogues({workload_line<SaysWhatWasRefused>("says")});
  const Scenario scenario = scenario_of("[workload]\nkind = 'says'", catalogues.catalogues());
  const auto repeats = [&](Shard shard) {
    std::vector<std::string> all;
    for (const SweepFailure& failure :
         sweep_scenario(scenario, catalogues.catalogues(), {.site = "allocate", .all = true, .shard = shard})
             .failures)
      all.push_back(failure.repeat);
    return all;
  };
  const std::vector<std::string> whole = repeats({});
  ASSERT_EQ(whole.size(), 120u) << "each call once and for ever";
  std::vector<std::string> together;
  for (std::size_t i = 1; i <= 7; ++i) {
    const std::vector<std::string> part = repeats({i, 7});
    EXPECT_NEAR(static_cast<double>(part.size()), 120.0 / 7, 1);
    together.insert(together.end(), part.begin(), part.end());
  }
  EXPECT_THAT(together, testing::UnorderedElementsAreArray(whole));
}

TEST(SweptPoints, OfAShippedWorkloadAreSharedOutAndSurviveInEachShard) {
  const Scenario scenario = scenario_of(kShipped);
  const SweepResult whole = sweep_scenario(scenario, all_catalogues(), {.seed = test_seed()});
  ASSERT_TRUE(whole.good()) << whole.why;
  std::uint64_t struck = 0;
  for (std::size_t i = 1; i <= 3; ++i) {
    const SweepResult part =
        sweep_scenario(scenario, all_catalogues(), {.seed = test_seed(), .shard = {i, 3}});
    EXPECT_TRUE(part.good()) << part.why;
    EXPECT_LE(part.struck, whole.struck / 3 + 1);
    struck += part.struck;
  }
  EXPECT_EQ(struck, whole.struck);
}

TEST(SweptPoints, ThatCannotBeginOnAGpuCostTheirWorkerSoThatTheNextHasAContext) {
  const Scenario scenario = scenario_of(
      "[device]\ncapacity_bytes = '1 GiB'\n[workload]\nkind = 'churn'\n[[resource]]\nkind = 'bump'\n"
      "slab_bytes = '4 GiB'");
  const Doer doer = order_doer(all_catalogues());
  for (const Lane lane : {Lane::host, Lane::cuda}) {
    const Deed deed = doer(count_order(scenario, {.lane = lane}, {}));
    EXPECT_EQ(count_answer({.answer = deed.answer}).verdict, Verdict::never_reached);
    EXPECT_EQ(deed.leaves, lane == Lane::cuda);
  }
}

TEST(SweptPoints, ComeToTheSameInWorkersAsInOneProcess) {
  const Scenario scenario = scenario_of(kShipped);
  const SweepOptions options{.seed = test_seed()};
  const SweepResult here = sweep_scenario(scenario, all_catalogues(), options);
  Crew crew({.workers = 3});
  int told = 0;
  const SweepResult there = sweep_scenarios({scenario, scenario}, all_catalogues(), options, crew, nullptr,
                                            [&](const SweepResult&) { ++told; })
                                .back();
  EXPECT_EQ(told, 2);
  EXPECT_EQ(there.points, here.points);
  EXPECT_EQ(there.struck, here.struck);
  EXPECT_EQ(there.sites, here.sites);
  EXPECT_EQ(there.verdicts, here.verdicts);
}

}  // namespace
}  // namespace drought
