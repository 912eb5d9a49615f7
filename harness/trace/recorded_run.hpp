// One device's part of a trace, with what can be known of it before it is replayed: what was there when
// the recording began, which frees had to wait for other streams, and which pool a segment belonged to.
// All of it follows from walking backwards from what was left at the end.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

#include "harness/memory/interfaces.hpp"
#include "harness/trace/trace.hpp"

namespace drought {

struct RecordedRun {
  /// A segment's pool; not known of one that the trace gave back, unless its recorder names pools.
  struct Owner {
    PoolId pool{};
    bool is_known = false;
  };

  /// `trace` outlives this.
  RecordedRun(const Trace& trace, std::size_t device);

  /// Whether the block at this free_completed had to wait after its free was requested.
  bool has_waited(std::size_t event) const {
    const bool follows = event != 0 && events[event - 1].action == TraceAction::free_requested &&
                         events[event - 1].address == events[event].address;
    return !follows && requests.contains(event);
  }

  const Trace& trace;
  const int device;
  const std::span<const TraceEvent> events;
  std::vector<Resumes::Segment> start;  ///< What the recording found; empty from an empty device on.
  std::map<std::uintptr_t, Owner> start_owners;
  std::unordered_map<std::size_t, Owner> owners;             ///< Of the segment of each segment_alloc.
  std::unordered_map<std::size_t, std::size_t> requests;     ///< From a free_completed that had to wait.
  std::unordered_map<std::size_t, std::size_t> completions;  ///< The other way round.
  bool has_oom = false;
  bool has_pools = false;  ///< Some event or segment names another pool than the default one.

 private:
  void pair_frees();
  void walk_back();
  void place_blocks(std::map<std::uintptr_t, Resumes::Block> lent);
};

}  // namespace drought
