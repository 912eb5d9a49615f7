#include "harness/trace/recorded_run.hpp"

#include <algorithm>
#include <optional>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

struct Known {
  Resumes::Segment segment;
  RecordedRun::Owner owner;
  std::uintptr_t end() const { return segment.address + segment.bytes; }
};
using KnownSegments = std::map<std::uintptr_t, Known>;

/// Takes [begin, end) out of what is known to be mapped. The owner of its first part, if there was any.
std::optional<RecordedRun::Owner> carve(KnownSegments& segments, std::uintptr_t begin, std::uintptr_t end) {
  std::optional<RecordedRun::Owner> owner;
  auto at = segments.upper_bound(begin);
  if (at != segments.begin() && std::prev(at)->second.end() > begin) --at;
  while (at != segments.end() && at->first < end) {
    const Known whole = at->second;
    if (!owner) owner = whole.owner;
    at = segments.erase(at);
    const auto keep = [&](std::uintptr_t from, std::uintptr_t to) {
      Known& kept = segments[from] = whole;
      kept.segment.address = from;
      kept.segment.bytes = to - from;
    };
    if (whole.segment.address < begin) keep(whole.segment.address, begin);
    if (whole.end() > end) keep(end, whole.end());
  }
  return owner;
}

}  // namespace

RecordedRun::RecordedRun(const Trace& from, std::size_t index)
    : trace(from), device(static_cast<int>(index)), events(from.device_traces[index]) {
  for (const TraceEvent& event : events) {
    has_oom = has_oom || event.action == TraceAction::oom;
    has_pools = has_pools || (event.has_pool && trace.pools[event.pool] != PoolId{});
  }
  for (const SnapshotSegment& segment : trace.segments)
    has_pools = has_pools || (segment.device == device && segment.pool != PoolId{});
  pair_frees();
  walk_back();
}

void RecordedRun::pair_frees() {
  std::unordered_map<std::uint64_t, std::size_t> open;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const TraceEvent& event = events[i];
    if (event.action == TraceAction::free_requested) {
      const bool is_done = i + 1 < events.size() && events[i + 1].action == TraceAction::free_completed &&
                           events[i + 1].address == event.address;
      if (!is_done) open[event.address] = i;
    } else if (event.action == TraceAction::free_completed) {
      const auto request = open.find(event.address);
      if (request == open.end()) continue;
      requests[i] = request->second;
      completions[request->second] = i;
      open.erase(request);
    }
  }
}

void RecordedRun::walk_back() {
  KnownSegments segments;
  std::map<std::uintptr_t, Resumes::Block> lent;
  for (const SnapshotSegment& last : trace.segments) {
    if (last.device != device) continue;
    segments[last.address] = {
        {last.address, last.bytes, {last.stream}, last.pool, last.is_small, last.is_expandable},
        {last.pool, true}};
    for (const SnapshotBlock& block : last.blocks)
      if (block.state != BlockState::inactive)
        lent[block.address] = {block.address, block.requested_bytes, block.bytes};
  }
  for (std::size_t i = events.size(); i-- > 0;) {
    const TraceEvent& event = events[i];
    if (event.action == TraceAction::alloc) {
      lent.erase(event.address);
    } else if (event.action == TraceAction::free_completed) {
      lent[event.address] = {event.address, event.bytes};
    } else if (event.action == TraceAction::segment_free) {
      const PoolId pool = event.has_pool ? trace.pools[event.pool] : PoolId{};
      // No other segment is as small as those of the small pool.
      segments[event.address] = {{event.address, event.bytes, {event.stream}, pool, event.bytes == 2_MiB},
                                 {pool, event.has_pool}};
    } else if (event.action == TraceAction::segment_alloc) {
      const auto found = segments.find(event.address);
      if (found == segments.end()) continue;
      owners[i] = found->second.owner;
      segments.erase(found);
    } else if (event.action == TraceAction::segment_map) {
      if (const auto owner = carve(segments, event.address, event.address + event.bytes)) owners[i] = *owner;
    } else if (event.action == TraceAction::segment_unmap) {
      segments[event.address] = {{event.address, event.bytes, {event.stream}, {}, false, true}, {}};
    }
  }
  for (auto& [address, known] : segments) {
    start.push_back(std::move(known.segment));
    start_owners[address] = known.owner;
  }
  if (!start.empty()) place_blocks(std::move(lent));
}

void RecordedRun::place_blocks(std::map<std::uintptr_t, Resumes::Block> lent) {
  // The first block that is lent behind another shows where that one ends.
  auto alive = lent;
  for (const TraceEvent& event : events) {
    if (event.action == TraceAction::free_completed) alive.erase(event.address);
    if (event.action != TraceAction::alloc) continue;
    auto after = alive.upper_bound(event.address);
    if (after == alive.begin()) continue;
    const auto known = lent.find(std::prev(after)->first);
    if (known->second.next == 0 && event.address > known->first) known->second.next = event.address;
  }
  for (Resumes::Segment& segment : start) {
    const std::uintptr_t end = segment.address + segment.bytes;
    for (auto block = lent.lower_bound(segment.address); block != lent.end() && block->first < end; ++block) {
      Resumes::Block placed = block->second;
      const auto after = std::next(block);
      const std::uintptr_t bound = after != lent.end() && after->first < end ? after->first : end;
      if (placed.next == 0 || placed.next > bound) placed.next = bound;
      segment.lent.push_back(placed);
    }
  }
}

}  // namespace drought
