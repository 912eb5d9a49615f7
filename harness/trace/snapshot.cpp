#include "harness/trace/snapshot.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "harness/trace/record.hpp"

namespace drought {
namespace {

using pickle::Kind;
using pickle::Path;
using pickle::Record;
using pickle::Value;

// A dict that describes an event, a segment or a block is no shorter, so a list that is longer than
// the file allows repeats one by back reference, which no recorder does.
constexpr std::size_t kEntryBytesMin = 16;

constexpr std::array<std::string_view, 9> kActions{"alloc",         "free_requested", "free_completed",
                                                   "segment_alloc", "segment_free",   "segment_map",
                                                   "segment_unmap", "snapshot",       "oom"};

// The tree of this many events is let go together.
constexpr std::size_t kEventsKept = 512;

TraceAction action_named(const Record& record) {
  const std::string_view word = record.string("action");
  for (std::size_t i = 0; i < kActions.size(); ++i)
    if (kActions[i] == word) return static_cast<TraceAction>(i);
  std::string known;
  for (const auto action : kActions) known += (known.empty() ? "" : ", ") + std::string(action);
  record.refuse_field("action", "unknown action " + quoted(word) + "; known: " + known);
}

class SnapshotReader {
 public:
  explicit SnapshotReader(Snapshot& snapshot)
      : snapshot_(snapshot),
        document_(snapshot.document),
        entries_left_(document_.file_bytes() / kEntryBytesMin) {}

  void read() {
    const Path path{};
    const Record root(document_, path, document_.root());
    const Path segments = root.path_to("segments"), traces = root.path_to("device_traces");
    for_each_entry(segments, root.field("segments", Kind::list),
                   [&](const Path& at, Value value) { read_segment(at, value); });
    for_each_entry(traces, root.field("device_traces", Kind::list), [&](const Path& at, Value value) {
      auto& events = snapshot_.device_traces.emplace_back();
      const Value list = expect(document_, at, value, Kind::list);
      events.reserve(std::min(list.size(), entries_left_));
      Value first;
      bool has_frames = false;
      for_each_entry(at, list, [&](const Path& event, Value entry) {
        read_event(event, entry, events);
        if (event.index == 0) first = entry;
        has_frames = has_frames || events.back().frames.exists();
        const bool is_due = event.index % kEventsKept == kEventsKept - 1;
        if (is_due && !has_frames) snapshot_.document.release_between(first, entry);
      });
    });
    if (root.has("allocator_settings"))
      read_settings(root.path_to("allocator_settings"), root.field("allocator_settings", Kind::dict));
  }

 private:
  template <typename Visit>
  void for_each_entry(const Path& path, Value list, Visit&& visit) {
    Path at{&path, {}, 0, true};
    list.for_each([&](Value value) {
      if (entries_left_ == 0) refuse(document_, at, "more entries than a file of this size can describe");
      --entries_left_;
      visit(at, value);
      ++at.index;
    });
  }

  PoolId read_pool(const Path& path, Value pair) {
    if (expect(document_, path, pair, Kind::list).size() != 2)
      refuse(document_, path, "expected a pair of integers");
    std::array<std::uint64_t, 2> ids{};
    Path at{&path, {}, 0, true};
    pair.for_each([&](Value value) {
      ids[at.index] = expect(document_, at, value, Kind::integer).integer_bits();
      ++at.index;
    });
    return {ids[0], ids[1]};
  }

  std::uint32_t pool_index(PoolId pool) {
    const auto index = static_cast<std::uint32_t>(snapshot_.pools.size());
    const auto [known, is_new] = pool_indices_.try_emplace({pool.first, pool.second}, index);
    if (is_new) snapshot_.pools.push_back(pool);
    return known->second;
  }

  std::uint64_t read_stream(const Record& record) {
    const std::uint64_t stream = record.bits("stream");
    if (!streams_.add(stream))
      record.refuse_field("stream", "more than " + std::to_string(trace_streams_max) + " different streams");
    return stream;
  }

  void read_event(const Path& path, Value value, std::vector<TraceEvent>& events) {
    const Record record(document_, path, value);
    TraceEvent event;
    event.action = action_named(record);
    const bool is_oom = event.action == TraceAction::oom;
    event.address = is_oom && record.has("device_free") ? record.bits("device_free") : record.bits("addr");
    event.bytes = record.count("size");
    event.stream = read_stream(record);
    if (record.has("time_us"))
      event.time_us = static_cast<std::int64_t>(record.field("time_us", Kind::integer).integer_bits());
    if (record.has("frames")) event.frames = record.field("frames", Kind::list);
    if (record.has("pool_id")) {
      const Path at = record.path_to("pool_id");
      event.has_pool = true;
      event.pool = pool_index(read_pool(at, record.field("pool_id", Kind::list)));
    }
    events.push_back(event);
  }

  void read_segment(const Path& path, Value value) {
    const Record record(document_, path, value);
    SnapshotSegment& segment = snapshot_.segments.emplace_back();
    segment.device = static_cast<int>(std::min<std::uint64_t>(record.count("device"), 1 << 20));
    segment.address = record.bits("address");
    segment.bytes = record.count("total_size");
    segment.stream = read_stream(record);
    segment.is_small = record.has("segment_type") && record.string("segment_type") == "small";
    segment.is_expandable = record.has("is_expandable") && record.boolean("is_expandable");
    if (record.has("segment_pool_id")) {
      const Path at = record.path_to("segment_pool_id");
      segment.pool = read_pool(at, record.field("segment_pool_id", Kind::list));
    }
    std::uint64_t next = segment.address;  // Older recorders leave out where a block begins.
    const Path blocks = record.path_to("blocks");
    for_each_entry(blocks, record.field("blocks", Kind::list), [&](const Path& at, Value entry) {
      segment.blocks.push_back(read_block(at, entry, next));
      next = segment.blocks.back().address + segment.blocks.back().bytes;
    });
  }

  SnapshotBlock read_block(const Path& path, Value value, std::uint64_t next) const {
    const Record record(document_, path, value);
    SnapshotBlock block;
    block.address = record.has("address") ? record.bits("address") : next;
    block.bytes = record.count("size");
    block.requested_bytes = record.has("requested_size") ? record.count("requested_size") : block.bytes;
    const std::string_view state = record.string("state");
    if (state == "active_allocated")
      block.state = BlockState::active_allocated;
    else if (state == "active_pending_free" || state == "active_awaiting_free")
      block.state = BlockState::active_pending_free;
    else if (state == "inactive")
      block.state = BlockState::inactive;
    else
      record.refuse_field("state", "unknown state " + quoted(state) +
                                       "; known: active_allocated, active_pending_free, inactive");
    return block;
  }

  void read_settings(const Path& path, Value value) {
    const Record record(document_, path, value);
    SnapshotSettings& settings = snapshot_.settings;
    if (record.has("PYTORCH_CUDA_ALLOC_CONF")) settings.conf = record.string("PYTORCH_CUDA_ALLOC_CONF");
    if (record.has("max_split_size"))
      settings.max_split_size = static_cast<std::int64_t>(record.bits("max_split_size"));
    if (record.has("garbage_collection_threshold"))
      settings.garbage_collection_threshold = record.field("garbage_collection_threshold", Kind::real).real();
    if (record.has("expandable_segments"))
      settings.expandable_segments = record.boolean("expandable_segments");
    if (!record.has("roundup_power2_divisions")) return;
    const Path at = record.path_to("roundup_power2_divisions");
    record.field("roundup_power2_divisions", Kind::dict)
        .for_each_entry([&](std::string_view key, Value entry) {
          const Path slot{&at, key};
          settings.roundup_power2_divisions.push_back(
              expect(document_, slot, entry, Kind::integer).integer_bits());
        });
  }

  Snapshot& snapshot_;
  const pickle::Document& document_;
  std::size_t entries_left_;
  StreamSet streams_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> pool_indices_;
};

}  // namespace

std::string_view name(TraceAction action) { return kActions[static_cast<std::size_t>(action)]; }

Snapshot read_snapshot(pickle::Document document) {
  Snapshot snapshot{{.name = document.name()}, std::move(document)};
  SnapshotReader(snapshot).read();
  return snapshot;
}

Snapshot read_snapshot(const std::string& path) { return read_snapshot(pickle::Document::read(path)); }

bool is_pickle(TraceFile& file) { return file.head().starts_with('\x80'); }

Trace read_snapshot_trace(TraceFile& file) {
  Snapshot snapshot = read_snapshot(pickle::Document::parse(file.path(), file.take_bytes()));
  const auto document = std::make_shared<pickle::Document>(std::move(snapshot.document));
  Trace trace = std::move(static_cast<Trace&>(snapshot));
  for (const auto& events : trace.device_traces)
    for (const TraceEvent& event : events)
      if (event.frames.exists()) trace.frames_in = document;
  return trace;
}

}  // namespace drought
