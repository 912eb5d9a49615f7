#include "harness/trace/bfc_dump.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace drought {
namespace {

constexpr std::string_view kRefused = "ran out of memory trying to allocate ";
constexpr std::string_view kRegion = "Next region of size ";
constexpr std::string_view kDump = "BFCAllocator dump for ";

/// What follows `words` in `line`, or nothing.
std::optional<std::string_view> after(std::string_view line, std::string_view words) {
  const std::size_t at = line.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  return line.substr(at + words.size());
}

std::optional<std::uint64_t> number_after(std::string_view line, std::string_view words) {
  auto rest = after(line, words);
  if (!rest) return std::nullopt;
  *rest = trimmed(*rest);
  return take_number(*rest);
}

/// "585.94MiB" to bytes, which the log has rounded.
std::optional<std::uint64_t> rounded_size(std::string_view text) {
  double value = 0;
  const auto whole = take_number(text);
  if (!whole) return std::nullopt;
  value = static_cast<double>(*whole);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    for (double place = 0.1; !text.empty() && text[0] >= '0' && text[0] <= '9'; place /= 10) {
      value += place * (text[0] - '0');
      text.remove_prefix(1);
    }
  }
  constexpr std::pair<std::string_view, int> kUnits[] = {{"B", 0},    {"KiB", 10}, {"MiB", 20},
                                                         {"GiB", 30}, {"TiB", 40}, {"PiB", 50}};
  for (const auto& [unit, shift] : kUnits)
    if (text.starts_with(unit) && value < 8192) return static_cast<std::uint64_t>(std::ldexp(value, shift));
  return std::nullopt;
}

struct Chunk {
  std::uint64_t address = 0, bytes = 0;
  bool is_used = false;
};

/// "InUse at 7f1c8a000000 of size 1280 next 1", or with 0x, or with the size last.
std::optional<Chunk> chunk_of(std::string_view line) {
  constexpr std::pair<std::string_view, bool> kStates[] = {
      {"InUse at ", true}, {"Free  at ", false}, {"Free at ", false}, {"Chunk at ", true}};
  for (const auto& [words, is_used] : kStates) {
    auto rest = after(line, words);
    if (!rest) continue;
    const auto address = take_number(*rest, 16);
    const auto bytes = number_after(*rest, " of size ");
    if (address && bytes) return Chunk{*address, *bytes, is_used};
  }
  return std::nullopt;
}

/// What one allocator's lines have told so far.
struct Dump {
  std::vector<SnapshotSegment> regions;
  std::vector<TraceEvent> refusals;
  std::uint64_t region_bytes = 0;  ///< Announced for the newest region; 0: older releases do not.
  bool has_ended = false;          ///< What comes next begins another dump.
};

class LogReader {
 public:
  explicit LogReader(TraceFile& file) : lines_(file.path(), file.text()) { trace_.name = file.path(); }

  Trace read() {
    while (lines_.next()) read_line(lines_.line());
    for (auto& [device, dump] : dumps_) finish(static_cast<int>(device), dump);
    const bool is_empty = std::all_of(trace_.device_traces.begin(), trace_.device_traces.end(),
                                      [](const auto& events) { return events.empty(); });
    if (is_empty) lines_.refuse("the log ends without a chunk or a refused request of a BFC allocator");
    return std::move(trace_);
  }

 private:
  void read_line(std::string_view line) {
    if (const auto rest = after(line, kRefused)) return refusal(line, *rest);
    if (const auto rest = after(line, kDump)) {
      check_covered();
      device_ = device_named(*rest);
      current().has_ended = true;
      return;
    }
    if (after(line, kRegion)) return region(line);
    if (const auto chunk = chunk_of(line)) return add(*chunk);
    if (const auto limit = number_after(line, "Limit:")) return set_limit(*limit);
    if (after(line, "Sum Total of in-use chunks:")) {
      check_covered();
      current().has_ended = true;
    }
  }

  Dump& current() { return dumps_[device_]; }

  // "GPU_1_bfc", whatever stands before it. Others ("gpu_host_bfc", "cpu") count as device 0.
  std::size_t device_named(std::string_view text) const {
    auto rest = after(text, "GPU_");
    const auto device = rest ? take_number(*rest) : std::nullopt;
    if (!device || !rest->starts_with("_bfc")) return 0;
    if (*device >= trace_devices_max)
      lines_.refuse("device " + std::to_string(*device) + " of " + std::to_string(trace_devices_max));
    return *device;
  }

  void refusal(std::string_view line, std::string_view rest) {
    device_ = device_named(line.substr(0, line.find(kRefused)));
    auto bytes = number_after(rest, "(rounded to ");
    if (!bytes) bytes = rounded_size(rest);
    if (!bytes || *bytes == 0 || *bytes >> 63) lines_.refuse("a refused request without its bytes");
    TraceEvent event;
    event.action = TraceAction::oom;
    event.bytes = *bytes;
    current().refusals.push_back(event);
  }

  void region(std::string_view line) {
    check_covered();
    const auto bytes = number_after(line, kRegion);
    if (!bytes || *bytes == 0 || *bytes >> 63) lines_.refuse("a region without its bytes");
    begin_region();
    current().region_bytes = *bytes;
  }

  void begin_region() {
    Dump& dump = current();
    if (dump.has_ended) dump.regions.clear();
    dump.has_ended = false;
    dump.regions.emplace_back().device = static_cast<int>(device_);
    dump.region_bytes = 0;
  }

  void add(const Chunk& chunk) {
    if (chunk.bytes == 0 || chunk.address == 0 || chunk.bytes >> 63 || chunk.bytes > ~chunk.address)
      lines_.refuse("a chunk of no bytes or beyond the address space");
    if (current().has_ended || current().regions.empty()) begin_region();
    Dump& dump = current();
    const auto end = [](const SnapshotSegment& region) { return region.address + region.bytes; };
    const bool is_next = !dump.regions.back().blocks.empty() && end(dump.regions.back()) == chunk.address;
    if (!dump.regions.back().blocks.empty() && !is_next) {
      if (dump.region_bytes != 0) lines_.refuse("a chunk that does not follow the one before it");
      begin_region();
    }
    SnapshotSegment& region = dump.regions.back();
    if (region.blocks.empty()) region.address = chunk.address;
    region.bytes += chunk.bytes;
    if (dump.region_bytes != 0 && region.bytes > dump.region_bytes)
      lines_.refuse("the chunks of a region of " + std::to_string(dump.region_bytes) +
                    " B are larger than it");
    region.blocks.push_back({chunk.address, chunk.bytes, chunk.is_used ? chunk.bytes : 0,
                             chunk.is_used ? BlockState::active_allocated : BlockState::inactive});
  }

  void check_covered() {
    const auto found = dumps_.find(device_);
    if (found == dumps_.end() || found->second.regions.empty() || found->second.region_bytes == 0) return;
    const std::uint64_t covered = found->second.regions.back().bytes;
    if (covered != found->second.region_bytes)
      lines_.refuse("a region of " + std::to_string(found->second.region_bytes) +
                    " B before this, of which " + std::to_string(covered) + " B are described");
  }

  void set_limit(std::uint64_t bytes) {
    if (bytes >> 63 == 0) trace_.limit_bytes = std::max(trace_.limit_bytes, bytes);
    current().has_ended = true;
  }

  void finish(int device, Dump& dump) {
    device_ = static_cast<std::size_t>(device);
    check_covered();
    if (trace_.device_traces.size() <= device_) trace_.device_traces.resize(device_ + 1);
    auto& events = trace_.device_traces[device_];
    std::uint64_t reserved_bytes = 0;
    for (SnapshotSegment& region : dump.regions) {
      if (region.blocks.empty()) continue;
      reserved_bytes += region.bytes;
      TraceEvent event;
      event.action = TraceAction::segment_alloc;
      event.address = region.address;
      event.bytes = region.bytes;
      events.push_back(event);
      event.action = TraceAction::alloc;
      for (const SnapshotBlock& block : region.blocks) {
        event.address = block.address;
        event.bytes = block.bytes;
        if (block.state == BlockState::active_allocated) events.push_back(event);
      }
      trace_.segments.push_back(std::move(region));
    }
    for (TraceEvent refusal : dump.refusals) {
      if (trace_.limit_bytes > reserved_bytes) refusal.address = trace_.limit_bytes - reserved_bytes;
      events.push_back(refusal);
    }
  }

  Lines lines_;
  Trace trace_;
  std::map<std::size_t, Dump> dumps_;
  std::size_t device_ = 0;
};

}  // namespace

bool is_bfc_dump(TraceFile& file) {
  if (file.head().find('\0') != std::string_view::npos) return false;
  const std::string_view text = file.text();
  return text.find(kRefused) != std::string_view::npos || text.find(kDump) != std::string_view::npos ||
         text.find("InUse at ") != std::string_view::npos;
}

Trace read_bfc_dump(TraceFile& file) { return LogReader(file).read(); }

}  // namespace drought
