#include "harness/trace/snapshot_writer.hpp"

#include <algorithm>
#include <bit>
#include <fstream>
#include <map>
#include <vector>

#include "harness/trace/pickle_opcode.hpp"

namespace drought {
namespace {

using pickle::Opcode;

/// Pickles plain values. Strings are memoized, which is what makes a trace's keys cost two bytes each.
class PickleWriter {
 public:
  explicit PickleWriter(std::ostream& out) : out_(out) {
    op(Opcode::proto);
    byte(2);
  }

  void op(Opcode opcode) { byte(static_cast<unsigned char>(opcode)); }
  void none() { op(Opcode::none); }
  void boolean(bool value) { op(value ? Opcode::newtrue : Opcode::newfalse); }

  void integer(std::int64_t value) {
    if (value >= 0 && value < 256) {
      op(Opcode::binint1);
      return bytes(static_cast<std::uint64_t>(value), 1);
    }
    if (value >= 0 && value < 65536) {
      op(Opcode::binint2);
      return bytes(static_cast<std::uint64_t>(value), 2);
    }
    if (value == static_cast<std::int32_t>(value)) {
      op(Opcode::binint);
      return bytes(static_cast<std::uint64_t>(value), 4);
    }
    op(Opcode::long1);
    byte(8);
    bytes(static_cast<std::uint64_t>(value), 8);
  }
  /// Not negative for Python either.
  void bits(std::uint64_t value) {
    if (value >> 63 == 0) return integer(static_cast<std::int64_t>(value));
    op(Opcode::long1);
    byte(9);
    bytes(value, 8);
    byte(0);
  }
  void real(double value) {
    op(Opcode::binfloat);
    const auto image = std::bit_cast<std::uint64_t>(value);
    for (int shift = 56; shift >= 0; shift -= 8) byte(static_cast<unsigned char>(image >> shift));
  }
  void string(std::string_view text) {
    const auto known = memo_.find(text);
    if (known != memo_.end()) {
      op(known->second < 256 ? Opcode::binget : Opcode::long_binget);
      return bytes(known->second, known->second < 256 ? 1 : 4);
    }
    op(Opcode::binunicode);
    bytes(text.size(), 4);
    out_.write(text.data(), static_cast<std::streamsize>(text.size()));
    const std::size_t index = memo_.size();
    op(index < 256 ? Opcode::binput : Opcode::long_binput);
    bytes(index, index < 256 ? 1 : 4);
    memo_.emplace(text, index);
  }

  void begin_dict() {
    op(Opcode::empty_dict);
    op(Opcode::mark);
  }
  void end_dict() { op(Opcode::setitems); }
  void begin_list() { op(Opcode::empty_list); }

  /// Items in batches, as Python writes them, so that no reader needs a deep stack.
  template <typename Items, typename Write>
  void list(const Items& items, Write&& write) {
    constexpr std::size_t kBatch = 1000;
    begin_list();
    std::size_t written = 0;
    for (const auto& item : items) {
      if (written % kBatch == 0) op(Opcode::mark);
      write(item);
      if (++written % kBatch == 0) op(Opcode::appends);
    }
    if (written % kBatch != 0) op(Opcode::appends);
  }
  void pair(PoolId pool) {
    bits(pool.first);
    bits(pool.second);
    op(Opcode::tuple2);
  }
  void stop() { op(Opcode::stop); }

 private:
  void byte(unsigned char value) { out_.put(static_cast<char>(value)); }
  void bytes(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) byte(static_cast<unsigned char>(value >> (8 * i)));
  }

  std::ostream& out_;
  std::map<std::string, std::size_t, std::less<>> memo_;
};

/// A copy of any value that was read.
void copy_value(PickleWriter& writer, pickle::Value value) {
  switch (value.kind()) {
    case pickle::Kind::missing:
    case pickle::Kind::none:
      return writer.none();
    case pickle::Kind::boolean:
      return writer.boolean(value.boolean());
    case pickle::Kind::integer:
      return writer.integer(static_cast<std::int64_t>(value.integer_bits()));
    case pickle::Kind::real:
      return writer.real(value.real());
    case pickle::Kind::string:
      return writer.string(value.string());
    case pickle::Kind::list: {
      std::vector<pickle::Value> items;
      value.for_each([&](pickle::Value item) { items.push_back(item); });
      return writer.list(items, [&](pickle::Value item) { copy_value(writer, item); });
    }
    case pickle::Kind::dict:
      writer.begin_dict();
      value.for_each_entry([&](std::string_view key, pickle::Value entry) {
        writer.string(key);
        copy_value(writer, entry);
      });
      return writer.end_dict();
  }
}

class SnapshotWriter {
 public:
  SnapshotWriter(std::ostream& out, const Trace& trace) : writer_(out), trace_(trace) {}

  void write() {
    writer_.begin_dict();
    writer_.string("segments");
    std::vector<const SnapshotSegment*> segments;
    for (const SnapshotSegment& segment : trace_.segments) segments.push_back(&segment);
    std::stable_sort(segments.begin(), segments.end(),
                     [](const auto* a, const auto* b) { return a->address < b->address; });
    writer_.list(segments, [&](const SnapshotSegment* segment) { write_segment(*segment); });
    writer_.string("device_traces");
    writer_.list(trace_.device_traces, [&](const std::vector<TraceEvent>& events) {
      writer_.list(events, [&](const TraceEvent& event) { write_event(event); });
    });
    writer_.string("allocator_settings");
    write_settings();
    writer_.string("external_annotations");
    writer_.begin_list();
    writer_.end_dict();
    writer_.stop();
  }

 private:
  void field(std::string_view key, std::uint64_t value) {
    writer_.string(key);
    writer_.bits(value);
  }
  void field(std::string_view key, std::string_view value) {
    writer_.string(key);
    writer_.string(value);
  }

  void write_event(const TraceEvent& event) {
    writer_.begin_dict();
    field("action", name(event.action));
    field(event.action == TraceAction::oom ? "device_free" : "addr", event.address);
    field("size", event.bytes);
    field("stream", event.stream);
    writer_.string("time_us");
    writer_.integer(event.time_us);
    field("compile_context", "N/A");
    field("user_metadata", "");
    if (event.has_pool && event.pool < trace_.pools.size()) {
      writer_.string("pool_id");
      writer_.pair(trace_.pools[event.pool]);
    }
    if (event.frames.exists()) {
      writer_.string("frames");
      copy_value(writer_, event.frames);
    }
    writer_.end_dict();
  }

  void write_segment(const SnapshotSegment& segment) {
    std::uint64_t allocated = 0, active = 0, requested = 0;
    for (const SnapshotBlock& block : segment.blocks) {
      if (block.state == BlockState::inactive) continue;
      active += block.bytes;
      requested += block.requested_bytes;
      if (block.state == BlockState::active_allocated) allocated += block.bytes;
    }
    writer_.begin_dict();
    field("device", static_cast<std::uint64_t>(segment.device));
    field("address", segment.address);
    field("total_size", segment.bytes);
    field("allocated_size", allocated);
    field("active_size", active);
    field("requested_size", requested);
    field("stream", segment.stream);
    field("segment_type", segment.is_small ? "small" : "large");
    writer_.string("segment_pool_id");
    writer_.pair(segment.pool);
    writer_.string("is_expandable");
    writer_.boolean(segment.is_expandable);
    writer_.string("frames");
    writer_.begin_list();
    writer_.string("blocks");
    writer_.list(segment.blocks, [&](const SnapshotBlock& block) { write_block(block); });
    writer_.end_dict();
  }

  void write_block(const SnapshotBlock& block) {
    constexpr std::string_view kStates[] = {"active_allocated", "active_pending_free", "inactive"};
    writer_.begin_dict();
    field("address", block.address);
    field("size", block.bytes);
    field("requested_size", block.requested_bytes);
    field("state", kStates[static_cast<std::size_t>(block.state)]);
    writer_.string("frames");
    writer_.begin_list();
    writer_.end_dict();
  }

  void write_settings() {
    const SnapshotSettings& settings = trace_.settings;
    writer_.begin_dict();
    field("PYTORCH_CUDA_ALLOC_CONF", settings.conf);
    writer_.string("max_split_size");
    writer_.integer(settings.max_split_size);
    writer_.string("garbage_collection_threshold");
    writer_.real(settings.garbage_collection_threshold);
    writer_.string("expandable_segments");
    writer_.boolean(settings.expandable_segments);
    writer_.string("roundup_power2_divisions");
    writer_.begin_dict();
    for (std::size_t i = 0; i < settings.roundup_power2_divisions.size(); ++i)
      field(std::to_string(std::uint64_t{1} << std::min<std::size_t>(i, 63)),
            settings.roundup_power2_divisions[i]);
    writer_.end_dict();
    writer_.end_dict();
  }

  PickleWriter writer_;
  const Trace& trace_;
};

}  // namespace

void write_snapshot(std::ostream& out, const Trace& trace) { SnapshotWriter(out, trace).write(); }

void write_snapshot(const std::string& path, const Trace& trace) {
  std::ofstream out(path, std::ios::binary);
  write_snapshot(out, trace);
  if (!out.flush()) throw TraceError(path + ": cannot be written");
}

}  // namespace drought
