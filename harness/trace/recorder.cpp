#include "harness/trace/recorder.hpp"

#include <algorithm>

namespace drought {
namespace {

// No offset is 0 then, and those of ordinary blocks stay below what viewers in JavaScript hold exactly.
constexpr std::uint64_t kShownBase = std::uint64_t{1} << 40;
// PyTorch rounds every block so; what is left of a segment after the request belongs to the block.
constexpr std::size_t kBlockStep = 512;

std::uintptr_t as_address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace

RunRecorder::RunRecorder(Device& device, Keeps keeps)
    : device_(device), keeps_events_(keeps == Keeps::events) {
  device_.set_gate(this);
}

RunRecorder::~RunRecorder() { device_.set_gate(nullptr); }

std::uint64_t RunRecorder::shown(const void* address) const {
  const std::uint64_t offset = device_.offset_of(address);
  return offset == UINT64_MAX ? as_address(address) : offset + kShownBase;
}

void RunRecorder::keep(TraceAction action, std::uint64_t address, std::size_t bytes, std::uint64_t stream) {
  if (!keeps_events_) return;
  TraceEvent event = cause_;
  event.stream = stream;
  event.action = action;
  event.address = address;
  event.bytes = bytes;
  events_.push_back(event);
}

void RunRecorder::lent(void* block, std::size_t bytes) {
  live_.insert(as_address(block), {bytes, cause_.stream});
  live_bytes_ += bytes;
  peak_live_bytes_ = std::max(peak_live_bytes_, live_bytes_);
  if (keeps_events_) keep(TraceAction::alloc, shown(block), bytes, cause_.stream);
}

bool RunRecorder::returning(void* block) {
  Live* const found = live_.find(as_address(block));
  if (!found) return false;
  const Live freed = *found;
  live_.erase(found);
  live_bytes_ -= freed.bytes;
  if (!keeps_events_) return true;
  keep(TraceAction::free_requested, shown(block), freed.bytes, freed.stream);
  keep(TraceAction::free_completed, shown(block), freed.bytes, freed.stream);
  return true;
}

void RunRecorder::refused(std::size_t bytes) {
  if (std::exchange(refusal_is_kept_, false)) return;
  const std::size_t total = device_.profile().free_bytes_at_start();
  keep(TraceAction::oom, total - std::min(total, reserved_bytes()), bytes, cause_.stream);
}

void RunRecorder::decided(const Decision& decision) {
  if (decision.kind != Decision::Kind::oom) return;
  refused(decision.bytes);
  refusal_is_kept_ = true;
}

void RunRecorder::leave(Call& call, Status status) noexcept {
  ++calls_[static_cast<std::size_t>(call.site)];
  if (status != Status::success) return;
  const std::uintptr_t at = as_address(call.data);
  if (call.site == Site::cudaMalloc && call.lent && *call.lent) {
    segments_[as_address(*call.lent)] = {call.bytes, cause_.stream, false};
    keep(TraceAction::segment_alloc, shown(*call.lent), call.bytes, cause_.stream);
  } else if (call.site == Site::cuMemMap) {
    segments_[at] = {call.bytes, cause_.stream, true};
    keep(TraceAction::segment_map, shown(call.data), call.bytes, cause_.stream);
  } else if (call.site == Site::cuMemUnmap) {
    const auto mapped = segments_.find(at);
    keep(TraceAction::segment_unmap, shown(call.data), call.bytes,
         mapped == segments_.end() ? cause_.stream : mapped->second.stream);
    unmap(at, call.bytes);
  } else if (const auto found = segments_.find(at); call.site == Site::cudaFree && found != segments_.end()) {
    keep(TraceAction::segment_free, shown(call.data), found->second.bytes, found->second.stream);
    segments_.erase(found);
  }
  const std::size_t reserved = reserved_bytes();
  if (reserved <= peak_reserved_bytes_) return;
  peak_reserved_bytes_ = reserved;
  peak_event_ = index_;
}

// One call may unmap several ranges that were mapped one by one, but never a part of one.
void RunRecorder::unmap(std::uintptr_t begin, std::size_t bytes) {
  auto at = segments_.lower_bound(begin);
  while (at != segments_.end() && at->first - begin < bytes) at = segments_.erase(at);
}

template <typename Visit>
void RunRecorder::for_each_segment(Visit&& visit) const {
  std::vector<std::pair<std::uintptr_t, Live>> blocks;
  blocks.reserve(live_.size());
  live_.for_each([&](std::uintptr_t address, const Live& live) { blocks.emplace_back(address, live); });
  std::sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  auto block = blocks.begin();
  for (auto at = segments_.begin(); at != segments_.end();) {
    const std::uintptr_t begin = at->first;
    Segment segment = at->second;
    for (++at; at != segments_.end() && segment.is_mapped && at->second.is_mapped &&
               at->first == begin + segment.bytes;
         ++at)
      segment.bytes += at->second.bytes;
    while (block != blocks.end() && block->first < begin) ++block;
    const auto first = block;
    while (block != blocks.end() && block->first - begin < segment.bytes) ++block;
    visit(begin, segment, first, block);
  }
}

std::size_t RunRecorder::largest_hole_bytes() const {
  std::size_t largest = 0;
  for_each_segment([&](std::uintptr_t begin, const Segment& segment, auto first, auto last) {
    std::uintptr_t covered = begin;
    for (; first != last; ++first) {
      if (first->first > covered) largest = std::max<std::size_t>(largest, first->first - covered);
      covered = std::max(covered, first->first + first->second.bytes);
    }
    const std::uintptr_t end = begin + segment.bytes;
    if (end > covered) largest = std::max<std::size_t>(largest, end - covered);
  });
  return largest;
}

Trace RunRecorder::take(std::string name, std::size_t device) {
  Trace trace;
  trace.name = std::move(name);
  trace.device_traces.resize(device + 1);
  trace.device_traces[device] = std::move(events_);
  for_each_segment([&](std::uintptr_t begin, const Segment& from, auto first, auto last) {
    SnapshotSegment& segment = trace.segments.emplace_back();
    segment.device = static_cast<int>(device);
    segment.address = shown(reinterpret_cast<const void*>(begin));
    segment.bytes = from.bytes;
    segment.stream = from.stream;
    segment.is_expandable = from.is_mapped;
    const auto hole = [&](std::uintptr_t at, std::uintptr_t end) {
      if (at < end)
        segment.blocks.push_back({segment.address + (at - begin), end - at, 0, BlockState::inactive});
    };
    std::uintptr_t covered = begin;
    for (; first != last; ++first) {
      hole(covered, first->first);
      const std::uintptr_t next = std::next(first) == last ? begin + from.bytes : std::next(first)->first;
      const std::size_t bytes =
          std::min<std::size_t>(round_up(first->second.bytes, kBlockStep), next - first->first);
      segment.blocks.push_back({segment.address + (first->first - begin), bytes,
                                std::min<std::uint64_t>(first->second.bytes, bytes),
                                BlockState::active_allocated});
      covered = first->first + bytes;
    }
    hole(covered, begin + from.bytes);
  });
  return trace;
}

}  // namespace drought
