// A trigger strikes the calls that it names and no others.
#include "harness/fault/trigger.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "tests/seed.hpp"

namespace drought {
namespace {

Call a_call() { return {.site = Site::cudaMalloc, .bytes = 100, .tag = "kv_buffer"}; }

bool strikes(Trigger::Options options, const Call& call, const Circumstances& now = {}) {
  Random random(test_seed());
  return Trigger(std::move(options)).strikes(call, now, random);
}

/// The numbers, from 1, of those of `count` equal calls that are struck.
std::vector<int> struck(Trigger::Options options, int count, std::uint64_t seed = 1) {
  Random random(seed);
  Trigger trigger(std::move(options));
  std::vector<int> numbers;
  for (int i = 1; i <= count; ++i)
    if (trigger.strikes(a_call(), {.call = static_cast<std::uint64_t>(i)}, random)) numbers.push_back(i);
  return numbers;
}

TEST(Trigger, StrikesEveryCallWhenItNamesNothing) { EXPECT_EQ(struck({}, 3), (std::vector{1, 2, 3})); }

struct Predicate {
  const char* name;
  Trigger::Options options;
  Call hit, miss;
  Circumstances hit_now{}, miss_now{};
};

std::vector<Predicate> predicates() {
  const Call plain = a_call();
  Call other = plain;
  std::vector<Predicate> all;
  other.site = Site::cudaFree;
  all.push_back({"Site", {.site = "cudaMal*"}, plain, other});
  other = plain, other.tag = "weights";
  all.push_back({"Tag", {.tag = "kv_?uffer"}, plain, other});
  all.push_back({"Phase", {.phase = "tear*"}, plain, plain, {.phase = "teardown"}, {.phase = "load"}});
  Call at = plain;
  at.resource = "pool", other = at, other.resource = "direct";
  all.push_back({"Resource", {.resource = "pool"}, at, other});
  at = plain, at.kernel = "decode_attention", other = at, other.kernel = "prefill_attention";
  all.push_back({"Kernel", {.kernel = "decode_*"}, at, other});
  other = plain, other.bytes = 99;
  all.push_back({"BytesMin", {.bytes_min = 100}, plain, other});
  other.bytes = 101;
  all.push_back({"BytesMax", {.bytes_max = 100}, plain, other});
  all.push_back({"LiveBytesMin", {.live_bytes_min = 7}, plain, plain, {.live_bytes = 7}, {.live_bytes = 6}});
  all.push_back({"Rank", {.rank = 1}, plain, plain, {.rank = 1}, {.rank = 0}});
  all.push_back({"RankOutsideAnyProcess", {.rank = 0}, plain, plain, {.rank = 0}, {.rank = -1}});
  all.push_back({"Call", {.call = 5}, plain, plain, {.call = 5}, {.call = 6}});
  all.push_back({"CallMin", {.call_min = 5}, plain, plain, {.call = 5}, {.call = 4}});
  return all;
}

class TriggerPredicate : public testing::TestWithParam<Predicate> {};

TEST_P(TriggerPredicate, TakesWhatItNamesAndLeavesTheRest) {
  const Predicate& predicate = GetParam();
  EXPECT_TRUE(strikes(predicate.options, predicate.hit, predicate.hit_now));
  EXPECT_FALSE(strikes(predicate.options, predicate.miss, predicate.miss_now));
}

INSTANTIATE_TEST_SUITE_P(Every, TriggerPredicate, testing::ValuesIn(predicates()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Trigger, StrikesOnlyWherePredicatesAgreeAllTogether) {
  EXPECT_TRUE(strikes({.site = "cudaMalloc", .tag = "kv_*", .bytes_min = 50}, a_call()));
  EXPECT_FALSE(strikes({.site = "cudaMalloc", .tag = "weights", .bytes_min = 50}, a_call()));
}

TEST(Trigger, StrikesTheNthMatchAloneWhateverCallsLieBetween) {
  Random random(1);
  Trigger trigger({.tag = "kv_buffer", .nth = 2});
  const Call other{.site = Site::cudaMalloc, .bytes = 1, .tag = "other"};
  EXPECT_FALSE(trigger.strikes(a_call(), {}, random));
  EXPECT_FALSE(trigger.strikes(other, {}, random));
  EXPECT_TRUE(trigger.strikes(a_call(), {}, random));
  EXPECT_FALSE(trigger.strikes(a_call(), {}, random));
  EXPECT_EQ(trigger.matched(), 3u);
}

TEST(Trigger, StrikesTheNthMatchAndAllAfterItWithFrom) {
  EXPECT_EQ(struck({.from = 3}, 5), (std::vector{3, 4, 5}));
}

TEST(Trigger, StrikesEachMultipleWithEvery) { EXPECT_EQ(struck({.every = 3}, 9), (std::vector{3, 6, 9})); }

TEST(Trigger, StrikesByChanceTheSameCallsForOneSeedAndOthersForAnother) {
  const auto first = struck({.chance = 0.5}, 200, test_seed());
  EXPECT_EQ(struck({.chance = 0.5}, 200, test_seed()), first);
  EXPECT_NE(struck({.chance = 0.5}, 200, test_seed() + 1), first);
  EXPECT_GT(first.size(), 50u);
  EXPECT_LT(first.size(), 150u);
}

TEST(Trigger, DrawsNothingForACallThatDoesNotMatch) {
  Random asked(9), untouched(9);
  Trigger trigger({.tag = "weights", .chance = 0.5});
  (void)trigger.strikes(a_call(), {}, asked);
  EXPECT_EQ(asked(), untouched()) << "a call that was no match moved the draws of those that are";
}

TEST(Trigger, RefusesOptionsThatContradictOneAnother) {
  EXPECT_THROW(Trigger({.bytes_min = 2, .bytes_max = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.nth = 1, .from = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.nth = 1, .every = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.from = 1, .every = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.call = 4, .call_min = 5}), std::invalid_argument);
  for (const double chance : {0.0, -0.5, 1.5, std::nan("")})
    EXPECT_THROW(Trigger({.chance = chance}), std::invalid_argument) << chance;
}

}  // namespace
}  // namespace drought
