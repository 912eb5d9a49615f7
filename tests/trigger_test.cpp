// A trigger strikes the calls that it names and no others.
#include "harness/fault/trigger.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/interfaces.hpp"
#include "tests/named.hpp"
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
  all.push_back({"LiveBytesMax", {.live_bytes_max = 7}, plain, plain, {.live_bytes = 7}, {.live_bytes = 8}});
  all.push_back({"TimeMin", {.time_min = 9}, plain, plain, {.time = 9}, {.time = 8}});
  all.push_back({"TimeMax", {.time_max = 9}, plain, plain, {.time = 9}, {.time = 10}});
  all.push_back({"Process", {.process = "rank *"}, plain, plain, {.process = "rank 1"}, {.process = "peer"}});
  all.push_back({"Stream", {.stream = 2}, plain, plain, {.stream = 2}, {.stream = 0}});
  all.push_back({"DefaultStream", {.stream = 0}, plain, plain, {.stream = 0}, {.stream = 1}});
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

INSTANTIATE_TEST_SUITE_P(Every, TriggerPredicate, testing::ValuesIn(predicates()), by_name);

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

TEST(Trigger, StrikesForSomeCallsAndThenNoMoreWithTimes) {
  EXPECT_EQ(struck({.from = 3, .times = 2}, 9), (std::vector{3, 4}));
  EXPECT_EQ(struck({.every = 2, .times = 3}, 99), (std::vector{2, 4, 6}));
  EXPECT_EQ(struck({.times = 5, .chance = 0.1}, 1000).size(), 5u) << "a call that chance spares was counted";
}

TEST(Trigger, LetsABudgetOfBytesGoFreeAndStrikesWhatDoesNotFitTheRest) {
  // 100 B each.
  EXPECT_EQ(struck({.budget_bytes = 250}, 5), (std::vector{3, 4, 5}));
  EXPECT_EQ(struck({.budget_bytes = 250, .nth = 2}, 5), (std::vector{4})) << "what went free is no match";
  Random random(1);
  Trigger trigger({.budget_bytes = 250});
  const Circumstances now;
  const auto asked = [&](std::size_t bytes) {
    return trigger.strikes({.site = Site::cudaMalloc, .bytes = bytes}, now, random);
  };
  EXPECT_FALSE(asked(200));
  EXPECT_TRUE(asked(51)) << "it does not fit";
  EXPECT_FALSE(asked(50)) << "what was struck took nothing";
  EXPECT_TRUE(asked(1));
}

/// A resource that says what it has free.
class Keeps final : public Resource, public ListsFreeBlocks {
 public:
  std::vector<FreeBlock> blocks;
  void* allocate(Request request) override { throw OutOfMemory(request); }
  void deallocate(void*, Request) noexcept override {}
  std::vector<FreeBlock> free_blocks() const override { return blocks; }
};

TEST(Trigger, StrikesWhileTheLargestHoleOfTheResourceOrTheDeviceIsSmallEnough) {
  Keeps keeps;
  keeps.blocks = {{1, 10, 0}, {100, 30, 0}, {200, 20, 0}};
  Call call{.site = Site::allocate, .bytes = 100};
  call.lender = &keeps;
  EXPECT_TRUE(strikes({.hole_bytes_max = 30}, call));
  EXPECT_FALSE(strikes({.hole_bytes_max = 29}, call));
  keeps.blocks.clear();
  EXPECT_TRUE(strikes({.hole_bytes_max = 0}, call)) << "nothing is free";
  const auto device = make_host_device(profile_named("h200"), {.work = Device::Work::shapes});
  const std::size_t free = device->profile().free_bytes_at_start();
  EXPECT_TRUE(strikes({.hole_bytes_max = free}, a_call(), {.device = device.get()}));
  EXPECT_FALSE(strikes({.hole_bytes_max = free - 1}, a_call(), {.device = device.get()}));
}

TEST(Trigger, CountsInEachNodeTheCallsThatItsParentsPredicatesAndItsOwnLetThrough) {
  // Call by call: weights, kv, weights, kv …
  const auto numbers = [](Trigger::Options options) {
    Random random(1);
    Trigger trigger(std::move(options));
    std::vector<int> found;
    for (int i = 1; i <= 8; ++i) {
      Call call = a_call();
      call.tag = i % 2 == 0 ? "kv" : "weights";
      if (trigger.strikes(call, {}, random)) found.push_back(i);
    }
    return found;
  };
  using Options = Trigger::Options;
  EXPECT_EQ(numbers({.tag = "kv", .any = {{.nth = 2}}}), (std::vector{4})) << "a part counts kv calls only";
  EXPECT_EQ(numbers({.nth = 2, .any = {{.tag = "kv"}}}), (std::vector{4}));
  EXPECT_EQ(numbers({.any = {{.tag = "kv", .nth = 1}, {.nth = 5}}}), (std::vector{2, 5}));
  EXPECT_EQ(numbers({.any = {{.nth = 5}, {.tag = "kv", .nth = 1}}}), (std::vector{2, 5}));
  EXPECT_EQ(numbers({.all = {{.from = 3}, {.every = 2}}}), (std::vector{4, 6, 8}));
  EXPECT_EQ(numbers({.none = {{.tag = "kv"}, {.nth = 3}}}), (std::vector{1, 5, 7}));
  EXPECT_EQ(numbers({.from = 2, .none = {{.tag = "weights", .every = 2}}}), (std::vector{2, 4, 5, 6, 8}));
  EXPECT_EQ(numbers(Options{.any = {{.all = {{.tag = "k*"}, {.nth = 4}}}}}), (std::vector{4}));
}

TEST(Trigger, RefusesOptionsThatContradictOneAnother) {
  EXPECT_THROW(Trigger({.bytes_min = 2, .bytes_max = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.nth = 1, .from = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.nth = 1, .every = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.from = 1, .every = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.call = 4, .call_min = 5}), std::invalid_argument);
  EXPECT_THROW(Trigger({.live_bytes_min = 2, .live_bytes_max = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.time_min = 2, .time_max = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.nth = 2, .times = 1}), std::invalid_argument);
  EXPECT_THROW(Trigger({.any = {{.nth = 2, .times = 1}}}), std::invalid_argument);
  for (const double chance : {0.0, -0.5, 1.5, std::nan("")})
    EXPECT_THROW(Trigger({.chance = chance}), std::invalid_argument) << chance;
}

}  // namespace
}  // namespace drought
