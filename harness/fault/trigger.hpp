// When a fault strikes: a tree of conditions. A node strikes a call in this order, and each step is asked
// only about the calls that came through the one before:
//
//   1  its own predicates: site, tag, sizes, watermarks, rank, time, call stack …
//   2  its parts: all of `all`, at least one of `any` (where there are any), none of `not`. Every part is
//      asked, whatever the others said, so that no count depends on their order
//   3  budget_bytes: a call that fits into what is left of the budget takes it and goes free;
//      unique_stack: the first call from each call stack. What comes through here is a match
//   4  nth, from or every pick among the matches by their number, from 1
//   5  chance; then times ends it after so many strikes
//
// So a count counts the calls that its own node lets through, and a part sees those that its parent's
// predicates let through. In a scenario:
//
//   when = { site = "cuda*", phase = "load", any = [ { tag = "kv*", nth = 3 }, { bytes_min = "1 GiB" } ],
//            not = { stream = 0 }, times = 2 }
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/device/call.hpp"
#include "harness/fault/stack.hpp"
#include "harness/scenario/key.hpp"
#include "harness/sched/random.hpp"

namespace drought {

class Device;

/// What a trigger may look at besides the call.
struct Circumstances {
  Tag phase;
  std::size_t live_bytes = 0;  ///< Held by workloads.
  std::uint64_t call = 0;      ///< Index among all calls of the run, from 1.
  int rank = -1;               ///< Of the simulated process that makes the call; -1 outside any.
  std::uint64_t time = 0;      ///< The virtual clock.
  std::string_view process{};  ///< The name of the simulated process.
  int stream = 0;              ///< The call's stream, numbered by first use; 0 is the default stream.
  Device* device = nullptr;    ///< The rank's. Null: nothing is known of its free memory.
};

/// Two parts of a trigger, or a trigger and its fault, that rule each other out.
class TriggerMistake : public std::invalid_argument {
 public:
  TriggerMistake(Position place, const std::string& what) : std::invalid_argument(what), at(place) {}
  Position at;  ///< Of the part; line 0 where it was not read from a file.
};

class Trigger {
 public:
  static constexpr std::size_t kAnyBytes = std::numeric_limits<std::size_t>::max();
  static constexpr std::uint64_t kAnyTime = std::numeric_limits<std::uint64_t>::max();

  struct Options {
    std::string site = "*";  ///< Globs.
    std::string tag = "*";
    std::string phase = "*";
    std::string resource = "*";  ///< Of allocate, deallocate and release: the name in the chain.
    std::string kernel = "*";
    std::string process = "*";  ///< "workload", or the name of a simulated rank.
    std::string stack = "*";    ///< A function on the call stack (Stack::has_frame).
    std::size_t bytes_min = 0;
    std::size_t bytes_max = kAnyBytes;
    std::size_t live_bytes_min = 0;  ///< Strikes only while workloads hold at least this …
    std::size_t live_bytes_max = kAnyBytes;
    /// … and while the largest free block of the resource that is asked is at most this; of one that does
    /// not tell, and at every other call, what the device has free.
    std::size_t hole_bytes_max = kAnyBytes;
    std::uint64_t time_min = 0;  ///< Of the virtual clock, which counts every process's calls.
    std::uint64_t time_max = kAnyTime;
    int rank = -1;                         ///< -1: any.
    int stream = -1;                       ///< -1: any; 0: the default stream; else numbered by first use.
    std::uint64_t call = 0;                ///< The one call with this index in the run; 0: any.
    std::uint64_t call_min = 0;            ///< No call before this one.
    std::size_t budget_bytes = kAnyBytes;  ///< Bytes that go free before anything is struck.
    bool unique_stack = false;             ///< Each call stack once.
    std::uint64_t nth = 0;                 ///< Only the nth match, from 1; 0: no such limit.
    std::uint64_t from = 0;                ///< The nth match and all after it.
    std::uint64_t every = 0;               ///< Each match whose number is a multiple.
    std::uint64_t times = 0;               ///< At most so many strikes; 0: any number.
    double chance = 1;                     ///< Of each match that is left.
    std::vector<Options> all, any, none;   ///< `not` in a scenario.
    Position at{};

    static constexpr auto keys() {
      return std::tuple{
          key("site", &Options::site),
          key("tag", &Options::tag),
          key("phase", &Options::phase),
          key("resource", &Options::resource),
          key("kernel", &Options::kernel),
          key("process", &Options::process),
          key("stack", &Options::stack),
          key("bytes_min", &Options::bytes_min),
          key("bytes_max", &Options::bytes_max),
          key("live_bytes_min", &Options::live_bytes_min),
          key("live_bytes_max", &Options::live_bytes_max),
          key("hole_bytes_max", &Options::hole_bytes_max),
          key("time_min", &Options::time_min),
          key("time_max", &Options::time_max),
          key("rank", &Options::rank),
          key("stream", &Options::stream),
          key("call", &Options::call),
          key("call_min", &Options::call_min),
          key("budget_bytes", &Options::budget_bytes),
          key("unique_stack", &Options::unique_stack),
          key("nth", &Options::nth),
          key("from", &Options::from),
          key("every", &Options::every),
          key("times", &Options::times),
          key("chance", &Options::chance),
          key("all", &Options::all),
          key("any", &Options::any),
          key("not", &Options::none),
      };
    }
  };

  /// Throws TriggerMistake for a node whose own options contradict one another; require_reachable
  /// (reach.hpp) judges the tree.
  explicit Trigger(Options options);

  /// Whether this call is struck. Counts it when it matches, so ask once for each call.
  bool strikes(const Call& call, const Circumstances& now, Random& random);
  std::uint64_t matched() const { return matched_; }
  const Options& options() const { return options_; }
  /// Whether any node looks at the number of the call's stream.
  bool asks_stream() const;

 private:
  /// A glob over interned names, which are asked again and again.
  class Names {
   public:
    explicit Names(const std::string& glob) : any_(glob == "*"), glob_(glob) {}
    bool match(Tag tag);

   private:
    bool any_;
    std::string glob_;
    std::vector<signed char> known_;  ///< By the tag's index: 1 yes, -1 no, 0 not asked yet.
  };

  bool matches(const Call& call, const Circumstances& now);
  bool parts_agree(const Call& call, const Circumstances& now, Random& random);
  bool picks(Random& random);

  Options options_;
  Names tag_, phase_;
  std::vector<Trigger> all_, any_, none_;
  std::uint64_t matched_ = 0, struck_ = 0;
  std::size_t budget_left_;
  std::unordered_map<const void*, bool> frames_;  ///< Whether the function around an address is named.
  StackSet stacks_;
};

}  // namespace drought
