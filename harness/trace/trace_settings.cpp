#include "harness/trace/trace_settings.hpp"

#include <algorithm>
#include <cstdio>

#include "harness/memory/bytes.hpp"

namespace drought {

std::string conf_of(const SnapshotSettings& settings) {
  std::string conf = settings.conf;
  const auto add = [&](const std::string& setting) { conf += (conf.empty() ? "" : ",") + setting; };
  if (settings.max_split_size > 0) {
    const auto megabytes = static_cast<std::size_t>(settings.max_split_size) / 1_MiB;
    // Some releases write "unlimited" as the largest whole number of megabytes.
    if (megabytes < (std::size_t{1} << 31)) add("max_split_size_mb:" + std::to_string(megabytes));
  }
  if (settings.garbage_collection_threshold > 0) {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", settings.garbage_collection_threshold);
    add(std::string("garbage_collection_threshold:") + text);
  }
  if (settings.expandable_segments) add("expandable_segments:True");
  const auto& divisions = settings.roundup_power2_divisions;
  if (std::any_of(divisions.begin(), divisions.end(), [](std::uint64_t value) { return value != 0; })) {
    std::string list;
    for (std::size_t i = 0; i < std::min<std::size_t>(divisions.size(), 16); ++i)
      list += (i ? "," : "") + std::to_string(std::size_t{1} << i) + ":" + std::to_string(divisions[i]);
    add("roundup_power2_divisions:[" + list + "]");
  }
  return conf;
}

CapBounds cap_bounds(const RecordedRun& run, const std::function<std::size_t(std::size_t)>& segment_bytes) {
  CapBounds bounds;
  std::size_t reserved = 0;
  for (const Resumes::Segment& segment : run.start) reserved += segment.bytes;
  std::size_t before = 0;  // What was reserved when the last growth began.
  bool has_grown = false;
  for (const TraceEvent& event : run.events) {
    switch (event.action) {
      case TraceAction::segment_alloc:
      case TraceAction::segment_map:
        if (!has_grown) before = reserved;
        has_grown = true;
        reserved += event.bytes;
        break;
      case TraceAction::segment_free:
      case TraceAction::segment_unmap:
        reserved -= std::min<std::size_t>(reserved, event.bytes);
        has_grown = false;
        break;
      case TraceAction::alloc:
        if (has_grown) bounds.least = std::max(bounds.least, before + segment_bytes(event.bytes));
        has_grown = false;
        break;
      case TraceAction::oom:
        bounds.too_much = std::min(bounds.too_much, reserved + segment_bytes(event.bytes));
        has_grown = false;
        break;
      default:
        break;
    }
  }
  return bounds;
}

}  // namespace drought
