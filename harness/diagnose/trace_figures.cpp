#include "harness/diagnose/trace_figures.hpp"

#include <algorithm>
#include <map>

namespace drought {
namespace {

constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 60;

Figure figure(std::uint64_t bytes, std::size_t event = 0) {
  return {.value = static_cast<std::int64_t>(std::min(bytes, kBytesMax)), .line = event};
}

struct LastRefusal {
  std::size_t device = 0, event = 0;
  bool found = false;
};

LastRefusal last_refusal(const Trace& trace) {
  LastRefusal last;
  std::int64_t time = 0;
  for (std::size_t device = 0; device < trace.device_traces.size(); ++device) {
    const auto& events = trace.device_traces[device];
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (events[i].action != TraceAction::oom || (last.found && events[i].time_us < time)) continue;
      last = {device, i, true};
      time = events[i].time_us;
    }
  }
  return last;
}

/// What the segments that the recorder left say of this device.
void take_segments(const Trace& trace, std::size_t device, Figures& figures) {
  std::uint64_t live = 0, reserved = 0, hole = 0, releasable = 0;
  for (const SnapshotSegment& segment : trace.segments) {
    if (static_cast<std::size_t>(segment.device) != device) continue;
    std::uint64_t used = 0;
    for (const SnapshotBlock& block : segment.blocks) {
      if (block.state == BlockState::inactive)
        hole = std::max(hole, block.bytes);
      else
        used += std::min(block.bytes, kBytesMax);
    }
    live = std::min(live + used, kBytesMax);
    reserved = std::min(reserved + std::min(segment.bytes, kBytesMax), kBytesMax);
    if (used == 0) releasable = std::min(releasable + std::min(segment.bytes, kBytesMax), kBytesMax);
  }
  figures.live = figure(live);
  figures.reserved = figure(reserved);
  figures.hole = figure(hole);
  figures.releasable = figure(releasable);
}

/// What the events up to `end` left behind, for a recorder that tells no segments.
void take_events(const std::vector<TraceEvent>& events, std::size_t end, Figures& figures) {
  std::map<std::uint64_t, std::uint64_t> blocks, segments;
  std::uint64_t live = 0, reserved = 0;
  const auto begin = [](auto& ranges, std::uint64_t& sum, const TraceEvent& event) {
    const std::uint64_t bytes = std::min(event.bytes, kBytesMax / 2);
    if (!ranges.emplace(event.address, bytes).second) return;
    sum = std::min(sum + bytes, kBytesMax);
  };
  const auto finish = [](auto& ranges, std::uint64_t& sum, const TraceEvent& event) {
    const auto found = ranges.find(event.address);
    if (found == ranges.end()) return;
    sum -= std::min(sum, found->second);
    ranges.erase(found);
  };
  for (std::size_t i = 0; i < end; ++i) {
    const TraceEvent& event = events[i];
    switch (event.action) {
      case TraceAction::alloc:
        begin(blocks, live, event);
        break;
      case TraceAction::free_completed:
        finish(blocks, live, event);
        break;
      case TraceAction::segment_alloc:
      case TraceAction::segment_map:
        begin(segments, reserved, event);
        break;
      case TraceAction::segment_free:
      case TraceAction::segment_unmap:
        finish(segments, reserved, event);
        break;
      default:
        break;
    }
  }
  figures.live = figure(live);
  if (reserved != 0) figures.reserved = figure(reserved);
}

}  // namespace

Figures figures_of(const Trace& trace) {
  Figures figures;
  const LastRefusal last = last_refusal(trace);
  if (last.found) {
    const TraceEvent& oom = trace.device_traces[last.device][last.event];
    figures.requested = figure(oom.bytes, last.event + 1);
    figures.free = figure(oom.address, last.event + 1);
    figures.refused = Figure{.value = 1, .line = last.event + 1, .unit = "times"};
  }
  if (!trace.segments.empty()) {
    take_segments(trace, last.device, figures);
  } else if (!trace.device_traces.empty()) {
    const auto& events = trace.device_traces[last.device];
    take_events(events, last.found ? last.event : events.size(), figures);
  }
  return figures;
}

}  // namespace drought
