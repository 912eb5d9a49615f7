#include "harness/fault/reach.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <vector>

namespace drought {
namespace {

using Options = Trigger::Options;
using Sites = std::bitset<site_count>;

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

template <typename Fits>
Sites sites_where(Fits&& fits) {
  Sites sites;
  for (int i = 0; i < site_count; ++i) sites.set(static_cast<std::size_t>(i), fits(static_cast<Site>(i)));
  return sites;
}

bool is_of_a_resource(Site site) {
  return site == Site::allocate || site == Site::deallocate || site == Site::release;
}

bool says_a_size(Site site) {
  switch (site) {
    case Site::cudaFree:
    case Site::cudaMemGetInfo:
    case Site::cudaFreeHost:
    case Site::cudaHostUnregister:
    case Site::cuMemRelease:
    case Site::cudaStreamCreate:
    case Site::cudaStreamDestroy:
    case Site::cudaStreamSynchronize:
    case Site::cudaStreamWaitEvent:
    case Site::cudaEventCreate:
    case Site::cudaEventDestroy:
    case Site::cudaEventRecord:
    case Site::cudaEventQuery:
    case Site::cudaEventSynchronize:
    case Site::cudaDeviceSynchronize:
    case Site::cudaPointerGetAttributes:
      return false;
    default:
      return true;
  }
}

/// The sites whose calls can have what the node asks for.
Sites sites_of(const Options& node) {
  const bool asks_size = node.bytes_min != 0 || node.budget_bytes != Trigger::kAnyBytes;
  return sites_where([&](Site site) {
    return glob_matches(node.site, name(site)) && (!asks_size || says_a_size(site)) &&
           (is_of_a_resource(site) || glob_matches(node.resource, "")) &&
           (site == Site::launch || glob_matches(node.kernel, ""));
  });
}

struct Range {
  const char* what;
  std::uint64_t low, high;
};

/// What a node's numbers let through, in one order for every node.
std::array<Range, 6> ranges_of(const Options& node) {
  const auto number = [](int wanted) { return static_cast<std::uint64_t>(wanted); };
  return {Range{"bytes", node.bytes_min, node.bytes_max},
          Range{"live_bytes", node.live_bytes_min, node.live_bytes_max},
          Range{"time", node.time_min, node.time_max},
          Range{"call", std::max(node.call, node.call_min), node.call != 0 ? node.call : kMost},
          Range{"rank", node.rank < 0 ? 0 : number(node.rank), node.rank < 0 ? kMost : number(node.rank)},
          Range{"stream", node.stream < 0 ? 0 : number(node.stream),
                node.stream < 0 ? kMost : number(node.stream)}};
}

struct Name {
  const char* what;
  std::string Options::*glob;
};
// A stack has many names at once, so no two of those exclude each other.
constexpr Name kNames[] = {{"tag", &Options::tag},
                           {"phase", &Options::phase},
                           {"resource", &Options::resource},
                           {"kernel", &Options::kernel},
                           {"process", &Options::process}};

bool is_plain(const std::string& glob) { return glob.find_first_of("*?") == std::string::npos; }

/// The calls that every condition so far lets through.
class Reach {
 public:
  explicit Reach(Sites sites) : sites_(sites) {}

  /// Takes the node's own predicates in. Throws where nothing is left.
  void narrow(const Options& node) {
    sites_ &= sites_of(node);
    if (sites_.none()) never(node, "no site has all that is asked for");
    const auto asked = ranges_of(node);
    for (std::size_t i = 0; i < asked.size(); ++i) {
      Range& range = ranges_[i];
      range = {asked[i].what, std::max(range.low, asked[i].low), std::min(range.high, asked[i].high)};
      if (range.low > range.high)
        never(node, std::string(range.what) + " would have to be at least " + std::to_string(range.low) +
                        " and at most " + std::to_string(range.high));
    }
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
      const std::string& glob = node.*kNames[i].glob;
      for (const std::string& other : globs_[i])
        if ((is_plain(other) && !glob_matches(glob, other)) || (is_plain(glob) && !glob_matches(other, glob)))
          never(node,
                std::string(kNames[i].what) + " would have to be both '" + other + "' and '" + glob + "'");
      if (glob != "*") globs_[i].push_back(glob);
    }
  }

  /// Whether the node's own predicates let through all that is reached.
  bool inside(const Options& node) const {
    if ((sites_ & ~sites_of(node)).any() || node.stack != "*" || node.hole_bytes_max != Trigger::kAnyBytes)
      return false;
    const auto asked = ranges_of(node);
    for (std::size_t i = 0; i < asked.size(); ++i)
      if (ranges_[i].low < asked[i].low || ranges_[i].high > asked[i].high) return false;
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
      const std::string& glob = node.*kNames[i].glob;
      const auto implied = [&](const std::string& known) {
        return known == glob || (is_plain(known) && glob_matches(glob, known));
      };
      if (glob != "*" && std::none_of(globs_[i].begin(), globs_[i].end(), implied)) return false;
    }
    return true;
  }

  const Sites& sites() const { return sites_; }
  void keep(Sites sites) { sites_ &= sites; }
  /// Calls there can be at the most.
  std::uint64_t calls_max() const { return ranges_[3].low == ranges_[3].high ? 1 : kMost; }

  [[noreturn]] static void never(const Options& node, const std::string& why) {
    throw TriggerMistake(node.at, "the trigger can never strike: " + why);
  }

 private:
  Sites sites_;
  std::array<Range, 6> ranges_ = ranges_of(Options{});
  std::array<std::vector<std::string>, std::size(kNames)> globs_;
};

/// Whether the node strikes every call that its predicates let through.
bool strikes_all(const Options& node) {
  return node.all.empty() && node.any.empty() && node.none.empty() && !node.unique_stack && node.nth == 0 &&
         node.from <= 1 && node.every <= 1 && node.times == 0 && node.chance == 1 &&
         node.budget_bytes == Trigger::kAnyBytes;
}

/// Strikes at the most; the largest number for no bound.
std::uint64_t strikes_max(const Options& node) {
  if (node.nth != 0 || node.call != 0) return 1;
  std::uint64_t strikes = node.times != 0 ? node.times : kMost, some = 0;
  for (const Options& part : node.all) strikes = std::min(strikes, strikes_max(part));
  for (const Options& part : node.any) {
    const std::uint64_t more = strikes_max(part);
    some = more > kMost - some ? kMost : some + more;
  }
  return node.any.empty() ? strikes : std::min(strikes, some);
}

void require_count(const Options& node, const Reach& reach) {
  const std::uint64_t wanted = std::max({node.nth, node.from, node.every});
  Options matches = node;
  matches.nth = matches.from = matches.every = matches.times = 0;
  const std::uint64_t come = std::min(strikes_max(matches), reach.calls_max());
  if (wanted > come)
    Reach::never(node, "match number " + std::to_string(wanted) + " is wanted, and " + std::to_string(come) +
                           (come == 1 ? " can come" : " can come at the most"));
}

void require_words(const Options& node) {
  (void)Trigger(node);  // Each node's own contradictions.
  if (sites_where([&](Site site) { return glob_matches(node.site, name(site)); }).any()) return;
  try {
    (void)site_named(node.site);
  } catch (const std::invalid_argument& unknown) {
    throw TriggerMistake(node.at, unknown.what());
  }
}

/// Narrows `reach` to what the node and all its parts let through.
void enter(const Options& node, Reach& reach) {
  require_words(node);
  reach.narrow(node);
  for (const Options& part : node.all) enter(part, reach);
  Sites some;
  for (const Options& part : node.any) {
    Reach branch = reach;
    enter(part, branch);
    some |= branch.sites();
  }
  if (!node.any.empty()) reach.keep(some);
  for (const Options& part : node.none) {
    require_words(part);
    if (strikes_all(part) && reach.inside(part))
      Reach::never(part, "what is left is just what this 'not' excludes");
  }
  require_count(node, reach);
}

}  // namespace

void require_reachable(const Options& when, const Fault& fault, const std::string& kind) {
  require_words(when);
  const Sites possible = sites_where([&](Site site) { return fault.can_strike(site); });
  const Sites wanted = sites_where([&](Site site) { return glob_matches(when.site, name(site)); });
  if ((possible & wanted).none()) {
    std::string sites;
    for (int i = 0; i < site_count; ++i)
      if (possible.test(static_cast<std::size_t>(i)))
        sites += (sites.empty() ? "" : ", ") + std::string(name(static_cast<Site>(i)));
    throw TriggerMistake(
        when.at, "fault '" + kind + "' cannot strike at site '" + when.site + "'; it can at: " + sites);
  }
  Reach reach(possible);
  enter(when, reach);
}

}  // namespace drought
