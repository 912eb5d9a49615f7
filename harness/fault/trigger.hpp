// When a fault strikes. A trigger is the conjunction of what it names: of the calls that match every
// predicate, those that the count (nth, from, every) or chance picks are struck.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "harness/fault/call.hpp"
#include "harness/scenario/key.hpp"
#include "harness/sched/random.hpp"

namespace drought {

/// What a trigger may look at besides the call.
struct Circumstances {
  Tag phase;
  std::size_t live_bytes = 0;  ///< Held by workloads.
  std::uint64_t call = 0;      ///< Index among all calls of the run, from 1.
  int rank = -1;               ///< Of the simulated process that makes the call; -1 outside any.
};

class Trigger {
 public:
  struct Options {
    std::string site = "*";  ///< Globs.
    std::string tag = "*";
    std::string phase = "*";
    std::string resource = "*";  ///< Of allocate, deallocate and release: the name in the chain.
    std::string kernel = "*";
    std::size_t bytes_min = 0;
    std::size_t bytes_max = std::numeric_limits<std::size_t>::max();
    std::size_t live_bytes_min = 0;  ///< Strikes only while workloads hold at least this.
    int rank = -1;                   ///< -1: any.
    std::uint64_t call = 0;          ///< The one call with this index in the run; 0: any.
    std::uint64_t call_min = 0;      ///< No call before this one.
    std::uint64_t nth = 0;           ///< Only the nth match, from 1; 0: no such limit.
    std::uint64_t from = 0;          ///< The nth match and all after it.
    std::uint64_t every = 0;         ///< Each match whose number is a multiple.
    double chance = 1;               ///< Of each match that is left.
    static constexpr auto keys() {
      return std::tuple{
          key("site", &Options::site),           key("tag", &Options::tag),
          key("phase", &Options::phase),         key("resource", &Options::resource),
          key("kernel", &Options::kernel),       key("bytes_min", &Options::bytes_min),
          key("bytes_max", &Options::bytes_max), key("live_bytes_min", &Options::live_bytes_min),
          key("rank", &Options::rank),           key("call", &Options::call),
          key("call_min", &Options::call_min),   key("nth", &Options::nth),
          key("from", &Options::from),           key("every", &Options::every),
          key("chance", &Options::chance)};
    }
  };

  /// Throws std::invalid_argument for options that contradict one another.
  explicit Trigger(Options options);

  /// Whether this call is struck. Counts it when it matches, so ask once for each call.
  bool strikes(const Call& call, const Circumstances& now, Random& random);
  std::uint64_t matched() const { return matched_; }
  const Options& options() const { return options_; }

 private:
  bool matches(const Call& call, const Circumstances& now) const;

  const Options options_;
  std::uint64_t matched_ = 0;
};

}  // namespace drought
