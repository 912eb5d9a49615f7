// Drawn trees of conditions over drawn calls, beside a model that judges a whole run at once and keeps no
// state: what a trigger strikes is what its definition says, and what is refused as unreachable strikes
// nothing whatever comes.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "harness/fault/reach.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using Options = Trigger::Options;

struct Seen {
  Call call;
  Circumstances now;
};

constexpr Site kSites[] = {Site::cudaMalloc, Site::cudaFree, Site::allocate, Site::launch};
constexpr const char *kTags[] = {"a", "ab", "b"}, *kPhases[] = {"load", "serve"};

/// A stream of small choices; zeros once it has run out.
class Choices {
 public:
  explicit Choices(const std::vector<std::uint8_t>& bytes) : bytes_(bytes) {}
  unsigned below(unsigned bound) { return at_ < bytes_.size() ? bytes_[at_++] % bound : 0; }
  bool one_in(unsigned count) { return below(count) == count - 1; }

 private:
  const std::vector<std::uint8_t>& bytes_;
  std::size_t at_ = 0;
};

Options drawn_node(Choices& choices, int depth) {
  constexpr const char* kSiteGlobs[] = {"*", "cuda*", "allocate", "cudaMalloc", "launch"};
  constexpr const char* kTagGlobs[] = {"*", "a*", "b", "a"};
  Options node;
  node.site = kSiteGlobs[choices.below(5)];
  node.tag = kTagGlobs[choices.below(4)];
  if (choices.one_in(4)) node.phase = kPhases[choices.below(2)];
  if (choices.one_in(4)) node.kernel = "k*";
  if (choices.one_in(4)) node.resource = "pool";
  if (choices.one_in(3)) node.bytes_min = choices.below(4);
  if (choices.one_in(3)) node.bytes_max = node.bytes_min + choices.below(5);
  if (choices.one_in(4)) node.live_bytes_min = choices.below(3);
  if (choices.one_in(4)) node.live_bytes_max = node.live_bytes_min + choices.below(3);
  if (choices.one_in(5)) node.time_min = choices.below(20);
  if (choices.one_in(5)) node.time_max = node.time_min + choices.below(40);
  if (choices.one_in(4)) node.rank = static_cast<int>(choices.below(2));
  if (choices.one_in(4)) node.stream = static_cast<int>(choices.below(3));
  if (choices.one_in(8)) node.call = 1 + choices.below(20);
  if (choices.one_in(8) && node.call == 0) node.call_min = choices.below(10);
  if (choices.one_in(4)) node.budget_bytes = choices.below(12);
  switch (choices.below(6)) {
    case 1:
      node.nth = 1 + choices.below(4);
      break;
    case 2:
      node.from = 1 + choices.below(4);
      break;
    case 3:
      node.every = 1 + choices.below(3);
      break;
    default:
      break;
  }
  if (choices.one_in(4) && node.nth == 0) node.times = 1 + choices.below(4);
  if (depth == 0) return node;
  for (auto* parts : {&node.all, &node.any, &node.none})
    for (unsigned i = choices.below(4); i > 1; --i) parts->push_back(drawn_node(choices, depth - 1));
  return node;
}

using DrawnCall = std::tuple<std::uint8_t, std::uint8_t, std::uint8_t>;

std::vector<Seen> calls_of(const std::vector<DrawnCall>& drawn) {
  std::vector<Seen> calls;
  std::uint64_t time = 0;
  for (const auto& [what, size, where] : drawn) {
    Seen seen;
    seen.call.site = kSites[what % 4];
    seen.call.tag = kTags[what / 4 % 3];
    seen.call.bytes = seen.call.site == Site::cudaFree ? 0 : size % 8;
    if (seen.call.site == Site::allocate) seen.call.resource = size / 8 % 2 ? "pool" : "direct";
    if (seen.call.site == Site::launch) seen.call.kernel = size / 8 % 2 ? "kernel" : "other";
    time += 1 + what / 64;
    seen.now = {.phase = kPhases[size / 16 % 2],
                .live_bytes = static_cast<std::size_t>(where % 4),
                .call = calls.size() + 1,
                .rank = where / 4 % 3 - 1,
                .time = time,
                .stream = where / 12 % 3};
    calls.push_back(seen);
  }
  return calls;
}

bool globbed(const std::string& glob, std::string_view text) {
  return glob.back() == '*' ? text.starts_with(glob.substr(0, glob.size() - 1)) : glob == text;
}

bool predicates_hold(const Options& node, const Seen& seen) {
  const auto& [call, now] = seen;
  const bool named = globbed(node.site, name(call.site)) && globbed(node.tag, call.tag.view()) &&
                     globbed(node.phase, now.phase.view()) && globbed(node.kernel, call.kernel) &&
                     globbed(node.resource, call.resource);
  const bool sized = node.bytes_min <= call.bytes && call.bytes <= node.bytes_max &&
                     node.live_bytes_min <= now.live_bytes && now.live_bytes <= node.live_bytes_max;
  const bool placed = (node.rank == -1 || node.rank == now.rank) &&
                      (node.stream == -1 || node.stream == now.stream) && node.time_min <= now.time &&
                      now.time <= node.time_max && (node.call == 0 || node.call == now.call) &&
                      node.call_min <= now.call;
  return named && sized && placed;
}

/// Which of the calls that the node is asked about it strikes: the definition, read once over all of them.
std::vector<bool> struck_by_definition(const Options& node, const std::vector<Seen>& asked) {
  std::vector<std::size_t> own;
  std::vector<Seen> passed;
  for (std::size_t i = 0; i < asked.size(); ++i)
    if (predicates_hold(node, asked[i])) {
      own.push_back(i);
      passed.push_back(asked[i]);
    }
  std::vector<int> all(passed.size()), any(passed.size()), none(passed.size());
  const auto tally = [&](const std::vector<Options>& parts, std::vector<int>& counts) {
    for (const Options& part : parts) {
      const std::vector<bool> strikes = struck_by_definition(part, passed);
      for (std::size_t i = 0; i < strikes.size(); ++i) counts[i] += strikes[i];
    }
  };
  tally(node.all, all);
  tally(node.any, any);
  tally(node.none, none);
  std::vector<bool> struck(asked.size());
  std::size_t left = node.budget_bytes, number = 0, strikes = 0;
  for (std::size_t i = 0; i < passed.size(); ++i) {
    if (all[i] != static_cast<int>(node.all.size()) || (!node.any.empty() && any[i] == 0) || none[i] != 0)
      continue;
    if (node.budget_bytes != Trigger::kAnyBytes && passed[i].call.bytes <= left) {
      left -= passed[i].call.bytes;
      continue;
    }
    ++number;
    const bool picked = (node.nth == 0 || number == node.nth) && number >= node.from &&
                        (node.every == 0 || number % node.every == 0) &&
                        (node.times == 0 || strikes < node.times);
    struck[own[i]] = picked;
    strikes += picked;
  }
  return struck;
}

std::vector<bool> struck_by_trigger(const Options& node, const std::vector<Seen>& calls) {
  Random random(1);
  Trigger trigger(node);
  std::vector<bool> struck;
  for (const Seen& seen : calls) struck.push_back(trigger.strikes(seen.call, seen.now, random));
  return struck;
}

TEST(TriggerTree, StrikesWhatItsDefinitionSaysForAnyTreeAndAnyCalls) {
  std::size_t some = 0;
  EXPECT_TRUE(rc::check([&](const std::vector<std::uint8_t>& shape, const std::vector<DrawnCall>& drawn) {
    Choices choices(shape);
    const Options tree = drawn_node(choices, 2);
    const std::vector<Seen> calls = calls_of(drawn);
    const std::vector<bool> expected = struck_by_definition(tree, calls);
    some += std::count(expected.begin(), expected.end(), true) != 0;
    RC_ASSERT(struck_by_trigger(tree, calls) == expected);
  }));
  EXPECT_GE(some, 5u) << "the draws strike too seldom to tell anything";
}

class StrikesAnywhere final : public Fault {
 public:
  bool can_strike(Site) const override { return true; }
  void strike(Call&, Scene&) override {}
};

TEST(TriggerTree, StrikesNothingWhenItIsRefusedAsUnreachable) {
  std::size_t refused = 0, accepted = 0;
  EXPECT_TRUE(rc::check([&](const std::vector<std::uint8_t>& shape, const std::vector<DrawnCall>& drawn) {
    Choices choices(shape);
    const Options tree = drawn_node(choices, 2);
    try {
      require_reachable(tree, StrikesAnywhere(), "any");
      ++accepted;
      return;
    } catch (const TriggerMistake&) {
      ++refused;
    }
    // A branch of `any` that cannot be is a mistake, though another branch may strike.
    if (!tree.any.empty()) return;
    for (const auto& part : tree.all)
      if (!part.any.empty()) return;
    const std::vector<bool> struck = struck_by_definition(tree, calls_of(drawn));
    RC_ASSERT(std::count(struck.begin(), struck.end(), true) == 0);
  }));
  EXPECT_GE(refused, 10u);
  EXPECT_GE(accepted, 10u);
}

}  // namespace
}  // namespace drought
