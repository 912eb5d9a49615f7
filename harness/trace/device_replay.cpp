#include "harness/trace/device_replay.hpp"

#include <algorithm>

namespace drought {
namespace {

constexpr std::size_t kBlocksListed = 12;

}  // namespace

DeviceReplay::DeviceReplay(const RecordedRun& run, const ReplayAllocator& make, const Assumptions& assumed)
    : run_(run),
      events_(run.events),
      assumed_(assumed),
      driver_(events_, differences_),
      device_(driver_),
      allocator_(make(driver_, device_)) {
  trims_ = dynamic_cast<Trims*>(allocator_.get());
  lists_ = dynamic_cast<ListsFreeBlocks*>(allocator_.get());
  logs_ = dynamic_cast<LogsDecisions*>(allocator_.get());
  if (!logs_) return;
  resumes_ = dynamic_cast<Resumes*>(allocator_.get());
  streams_ = dynamic_cast<RecordsStreams*>(allocator_.get());
  pools_ = dynamic_cast<Pools*>(allocator_.get());
  if (resumes_) {
    resumes_->configure(assumed_.conf, assumed_.cap_bytes);
    start_in_the_middle();
  }
  logs_->log_decisions_to(&driver_);
}

DeviceReplay::~DeviceReplay() {
  if (logs_) logs_->log_decisions_to(nullptr);
  lent_.for_each(
      [&](std::uintptr_t, const Lent& lent) { allocator_->deallocate(lent.data, lent.request()); });
}

void DeviceReplay::start_in_the_middle() {
  const bool can_resume = std::none_of(run_.start.begin(), run_.start.end(),
                                       [](const Resumes::Segment& segment) { return segment.is_expandable; });
  if (!can_resume)
    return differences_.differ(0,
                               "the recording begins in the middle of expandable segments, whose "
                               "unmapped parts no trace shows");
  for (const Resumes::Segment& segment : run_.start) {
    driver_.resume(segment.address, segment.bytes);
    if (segment.pool != PoolId{}) held_.insert(segment.pool);
    segments_[segment.address] = {segment.bytes, segment.pool};
    for (const Resumes::Block& block : segment.lent) {
      lent_.insert(block.address, {reinterpret_cast<void*>(block.address), block.bytes, segment.stream.id});
      live_bytes_ += block.bytes;
    }
  }
  peak_live_bytes_ = live_bytes_;
  resumes_->resume(run_.start);
}

void DeviceReplay::play(std::size_t stop) {
  std::size_t causes = 0;  // Where the segment events begin that the next call explains.
  for (std::size_t i = 0; i < events_.size(); ++i) {
    switch (events_[i].action) {
      case TraceAction::segment_alloc:
      case TraceAction::segment_free:
      case TraceAction::segment_map:
      case TraceAction::segment_unmap:
        continue;
      case TraceAction::free_completed:
        if (streams_ && run_.has_waited(i)) continue;
        [[fallthrough]];
      default:
        if (stop <= i) return;
        play_call({causes, i}, i);
        causes = i + 1;
    }
  }
  if (stop >= events_.size()) empty_cache({causes, events_.size()});
}

void DeviceReplay::compare_segments() {
  auto left = driver_.ranges();
  const std::size_t end = events_.empty() ? 0 : events_.size() - 1;
  for (const SnapshotSegment& segment : run_.trace.segments) {
    if (segment.device != run_.device) continue;
    const auto found = left.find(segment.address);
    const bool is_equal = found != left.end() && found->second == segment.bytes;
    ++differences_.compared;
    if (!is_equal)
      differences_.differ(end, "at the end expected a segment of " + std::to_string(segment.bytes) +
                                   " B at " + hexadecimal(segment.address) + ", got none");
    if (found != left.end()) left.erase(found);
  }
  for (const auto& [address, bytes] : left)
    differences_.differ(end, "at the end expected no segment at " + hexadecimal(address) + ", got one of " +
                                 std::to_string(bytes) + " B");
}

void DeviceReplay::add_to(ReplayResult& result) const {
  const std::size_t reserved = trims_ ? trims_->reserved_bytes() : driver_.reserved_bytes();
  result.compared += differences_.compared;
  if (result.differences) *result.differences += differences_.found;
  result.inferred.empty_cache += empty_caches_;
  result.inferred.pool += pooled_;
  result.inferred.cap += assumed_.cap_bytes != 0;
  result.inferred.refusal += driver_.refusals();
  result.refused += refused_;
  // An allocator without an upstream here holds what it lends.
  result.reserved_bytes += std::max(reserved, driver_.peak_reserved_bytes() ? 0 : live_bytes_);
  result.peak_reserved_bytes +=
      driver_.peak_reserved_bytes() ? driver_.peak_reserved_bytes() : peak_live_bytes_;
  result.live_bytes += live_bytes_;
}

std::string DeviceReplay::listing(std::uint64_t stream) const {
  if (!lists_) return "not listed by this allocator";
  std::string text;
  std::size_t listed = 0, left_out = 0;
  for (const auto& block : lists_->free_blocks()) {
    if (block.stream != stream) continue;
    if (listed == kBlocksListed) {
      ++left_out;
      continue;
    }
    text += (listed++ ? ", " : "") + std::to_string(block.bytes) + " B at " + hexadecimal(block.address);
  }
  if (left_out) text += " and " + std::to_string(left_out) + " more";
  return listed ? text : "none";
}

void DeviceReplay::play_call(Causes causes, std::size_t i) {
  const TraceEvent& event = events_[i];
  if (event.action == TraceAction::alloc) return allocate(causes, i);
  if (event.action == TraceAction::oom) return run_out(causes, i);
  empty_cache(causes);
  if (event.action == TraceAction::free_requested) return request_free(i);
  if (event.action == TraceAction::free_completed) free(i);
}

void DeviceReplay::allocate(Causes causes, std::size_t i) {
  const TraceEvent& event = events_[i];
  const Request request{.bytes = event.bytes, .stream = {event.stream}, .from = {}};
  if (event.bytes == 0 || event.address == 0)
    return differences_.differ(i, "an alloc without bytes or without an address");
  if (logs_) {
    driver_.expect(causes.begin, causes.end, i);
    if (!causes.empty()) settle(causes, i);
  }
  void* data = nullptr;
  ++calls_;
  try {
    data = assumed_.looks_for_pools && pools_ ? lend(causes, i, request) : allocator_->allocate(request);
  } catch (const OutOfMemory& refusal) {
    ++refused_;
    if (logs_) differences_.compare(false, i, "expected " + describe(event) + ", got " + refusal.what());
    return;
  }
  if (logs_) {
    if (!causes.empty()) {
      driver_.expect_nothing_more();
      check_waits(causes, i);
    }
    const auto got = reinterpret_cast<std::uintptr_t>(data);
    ++differences_.compared;
    if (got != event.address)
      differences_.differ(i, "expected " + describe(event) + ", got " + hexadecimal(got));
  }
  if (Lent* known = lent_.find(event.address)) {
    differences_.differ(i, "a block is allocated where another is still live: " + describe(event));
    give_back(known);
  }
  lent_.insert(event.address, {data, event.bytes, event.stream});
  live_bytes_ += event.bytes;
  peak_live_bytes_ = std::max(peak_live_bytes_, live_bytes_);
}

void DeviceReplay::run_out(Causes causes, std::size_t i) {
  const TraceEvent& event = events_[i];
  if (!logs_ || event.bytes == 0) return;
  driver_.expect(causes.begin, i + 1, i);
  if (!causes.empty()) settle(causes, i);
  const Request request{.bytes = event.bytes, .stream = {event.stream}, .from = {}};
  ++calls_;
  try {
    void* data = allocator_->allocate(request);
    differences_.compare(false, i,
                         "expected " + describe(event) + ", got a block at " +
                             hexadecimal(reinterpret_cast<std::uintptr_t>(data)));
    allocator_->deallocate(data, request);
  } catch (const OutOfMemory&) {
    ++refused_;
  }
  driver_.expect_nothing_more();
  check_waits(causes, i);
  note_segments(causes, {});
}

void DeviceReplay::request_free(std::size_t i) {
  if (!logs_) return;
  const TraceEvent& event = events_[i];
  Lent* known = lent_.find(event.address);
  if (!known) return differences_.differ(i, "no block of the trace is live there: " + describe(event));
  if (known->bytes != event.bytes)
    differences_.differ(i, "asked for with " + std::to_string(known->bytes) + " B, but: " + describe(event));
  const bool has_to_wait = i + 1 == events_.size() || events_[i + 1].address != event.address ||
                           events_[i + 1].action != TraceAction::free_completed;
  if (!has_to_wait || !streams_ || !run_.completions.contains(i)) return;
  // It waits for work on a stream of its own, whose name is this event's.
  streams_->record_stream(known->data, {i});
  give_back(known);
}

// A block returns when its free has completed, however long after it was requested: until then the
// trace's allocator would not have reused it either.
void DeviceReplay::free(std::size_t i) {
  Lent* known = lent_.find(events_[i].address);
  if (known) return give_back(known);
  if (logs_) differences_.differ(i, "no block of the trace is live there: " + describe(events_[i]));
}

void DeviceReplay::give_back(Lent* known) {
  const Lent lent = *known;
  lent_.erase(known);
  live_bytes_ -= lent.bytes;
  ++calls_;
  allocator_->deallocate(lent.data, lent.request());
}

}  // namespace drought
