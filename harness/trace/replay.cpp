#include "harness/trace/replay.hpp"

#include <time.h>

#include <algorithm>
#include <cstdint>

#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/trace/snapshot.hpp"
#include "harness/trace/trace_driver.hpp"

namespace drought {
namespace {

constexpr std::size_t kWholeTrace = ~std::size_t{0};
constexpr std::size_t kBlocksListed = 12;

std::string hexadecimal(std::uint64_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

// What this thread has computed, not what passed on the wall: other work on the machine is no cost.
double thread_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// One device's part of a trace, on its way through one allocator.
class DeviceReplay {
 public:
  DeviceReplay(std::span<const TraceEvent> events, const ReplayAllocator& make)
      : events_(events), driver_(events, differences_), allocator_(make(driver_)) {
    trims_ = dynamic_cast<Trims*>(allocator_.get());
    lists_ = dynamic_cast<ListsFreeBlocks*>(allocator_.get());
    logs_ = dynamic_cast<LogsDecisions*>(allocator_.get());
    if (logs_) logs_->log_decisions_to(&driver_);
    for (const TraceEvent& event : events_) has_oom_ = has_oom_ || event.action == TraceAction::oom;
  }
  ~DeviceReplay() {
    if (logs_) logs_->log_decisions_to(nullptr);
    lent_.for_each(
        [&](std::uintptr_t, const Lent& lent) { allocator_->deallocate(lent.data, lent.request()); });
  }
  DeviceReplay(const DeviceReplay&) = delete;

  /// Plays the events up to and without the one that `stop` lies in the causes of.
  void play(std::size_t stop = kWholeTrace) {
    std::size_t causes = 0;  // Where the segment events begin that the next call explains.
    for (std::size_t i = 0; i < events_.size(); ++i) {
      switch (events_[i].action) {
        case TraceAction::segment_alloc:
        case TraceAction::segment_free:
        case TraceAction::segment_map:
        case TraceAction::segment_unmap:
          continue;
        default:
          if (stop <= i) return;
          play_call(causes, i);
          causes = i + 1;
      }
    }
    if (stop < events_.size()) return;
    empty_cache(causes, events_.size());
  }

  void compare_segments(const std::vector<SnapshotSegment>& segments, int device) {
    auto left = driver_.lent();
    const std::size_t end = events_.empty() ? 0 : events_.size() - 1;
    for (const SnapshotSegment& segment : segments) {
      if (segment.device != device) continue;
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

  void add_to(ReplayResult& result) const {
    const std::size_t reserved = trims_ ? trims_->reserved_bytes() : driver_.reserved_bytes();
    result.compared += differences_.compared;
    if (result.differences) *result.differences += differences_.found;
    result.inferred.empty_cache += empty_caches_;
    result.refused += refused_;
    // An allocator without an upstream here holds what it lends.
    result.reserved_bytes += std::max(reserved, driver_.peak_reserved_bytes() ? 0 : live_bytes_);
    result.peak_reserved_bytes +=
        driver_.peak_reserved_bytes() ? driver_.peak_reserved_bytes() : peak_live_bytes_;
    result.live_bytes += live_bytes_;
  }

  const Differences& differences() const { return differences_; }
  bool is_compared() const { return logs_ != nullptr; }
  std::size_t calls() const { return calls_; }

  /// The free blocks of one stream, in the order in which they would be searched.
  std::string listing(std::uint64_t stream) const {
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

 private:
  struct Lent {
    void* data = nullptr;
    std::uint64_t bytes = 0, stream = 0;
    Request request() const { return {.bytes = bytes, .stream = {stream}, .from = {}}; }
  };

  void play_call(std::size_t causes, std::size_t i) {
    const TraceEvent& event = events_[i];
    if (event.action == TraceAction::alloc) return allocate(causes, i);
    if (event.action == TraceAction::oom) return run_out(causes, i);
    empty_cache(causes, i);
    if (event.action == TraceAction::free_requested) return check_free(i);
    if (event.action == TraceAction::free_completed) free(i);
  }

  // Segments go back in [begin, end) and no request in the trace explains it.
  void empty_cache(std::size_t begin, std::size_t end) {
    if (begin == end || !logs_) return;
    driver_.expect(begin, end, end == events_.size() ? end - 1 : end);
    const std::size_t before = differences_.compared;
    if (trims_ && events_[begin].action == TraceAction::segment_free) {
      ++empty_caches_;
      trims_->trim();
    }
    if (differences_.compared == before) differences_.differ(begin, "nothing was there to give back");
    driver_.expect_nothing_more();
  }

  // Where the trace gives segments back before a request borrows, either the driver refused, or
  // empty_cache was called first. Both lead to the same state; a trace in which nothing ever ran out of
  // memory is taken to have had the second.
  void empty_cache_before(std::size_t causes, std::size_t i) {
    if (has_oom_ || !trims_ || causes == i || events_[causes].action != TraceAction::segment_free) return;
    const std::size_t before = differences_.compared;
    ++empty_caches_;
    trims_->trim();
    if (differences_.compared == before) differences_.differ(causes, "nothing was there to give back");
  }

  void allocate(std::size_t causes, std::size_t i) {
    const TraceEvent& event = events_[i];
    const Request request{.bytes = event.bytes, .stream = {event.stream}, .from = {}};
    if (event.bytes == 0 || event.address == 0)
      return differences_.differ(i, "an alloc without bytes or without an address");
    if (logs_) {
      driver_.expect(causes, i, i);
      empty_cache_before(causes, i);
    }
    void* data = nullptr;
    ++calls_;
    try {
      data = allocator_->allocate(request);
    } catch (const OutOfMemory& refusal) {
      ++refused_;
      if (logs_) differences_.compare(false, i, "expected " + describe(event) + ", got " + refusal.what());
      return;
    }
    if (logs_) {
      if (driver_.expects_more()) driver_.expect_nothing_more();
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

  void run_out(std::size_t causes, std::size_t i) {
    const TraceEvent& event = events_[i];
    if (!logs_ || event.bytes == 0) return;
    driver_.expect(causes, i + 1, i);
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
  }

  void check_free(std::size_t i) {
    if (!logs_) return;
    const Lent* known = lent_.find(events_[i].address);
    if (!known)
      differences_.differ(i, "no block of the trace is live there: " + describe(events_[i]));
    else if (known->bytes != events_[i].bytes)
      differences_.differ(
          i, "asked for with " + std::to_string(known->bytes) + " B, but: " + describe(events_[i]));
  }

  // A block returns when its free has completed, however long after it was requested: until then the
  // trace's allocator would not have reused it either.
  void free(std::size_t i) {
    Lent* known = lent_.find(events_[i].address);
    if (known) return give_back(known);
    if (logs_) differences_.differ(i, "no block of the trace is live there: " + describe(events_[i]));
  }

  void give_back(Lent* known) {
    const Lent lent = *known;
    lent_.erase(known);
    live_bytes_ -= lent.bytes;
    ++calls_;
    allocator_->deallocate(lent.data, lent.request());
  }

  const std::span<const TraceEvent> events_;
  Differences differences_;
  TraceDriver driver_;
  std::unique_ptr<Resource> allocator_;
  Trims* trims_ = nullptr;
  ListsFreeBlocks* lists_ = nullptr;
  LogsDecisions* logs_ = nullptr;
  bool has_oom_ = false;
  AddressTable<Lent> lent_;
  std::size_t empty_caches_ = 0, refused_ = 0, calls_ = 0;
  std::size_t live_bytes_ = 0, peak_live_bytes_ = 0;
};

std::string explain(const Differences& differences, std::size_t device, std::span<const TraceEvent> events,
                    const ReplayAllocator& make) {
  std::string text = "device " + std::to_string(device) + ", event " +
                     std::to_string(differences.first_event) + ": " + differences.first;
  if (events.empty()) return text;
  DeviceReplay again(events, make);
  again.play(differences.first_event);
  return text +
         "; free blocks of its stream before: " + again.listing(events[differences.first_event].stream);
}

}  // namespace

ReplayResult replay(const Trace& trace, const ReplayAllocator& make) {
  ReplayResult result;
  result.trace = trace.name;
  std::size_t calls = 0;
  double spent_ns = 0;
  for (std::size_t device = 0; device < trace.device_traces.size(); ++device) {
    const std::span<const TraceEvent> events = trace.device_traces[device];
    if (events.empty()) continue;
    result.events += events.size();
    DeviceReplay run(events, make);
    if (run.is_compared() && !result.differences) result.differences = 0;
    const double begin_ns = thread_ns();
    run.play();
    spent_ns += thread_ns() - begin_ns;
    if (run.is_compared()) run.compare_segments(trace.segments, static_cast<int>(device));
    run.add_to(result);
    calls += run.calls();
    if (run.is_compared() && run.differences().found != 0 && result.first_difference.empty())
      result.first_difference = explain(run.differences(), device, events, make);
  }
  result.ns_per_op = calls ? spent_ns / static_cast<double>(calls) : 0;
  return result;
}

ReplayResult replay_file(const std::string& path, const ReplayAllocator& make) {
  return replay(read_snapshot(path), make);
}

}  // namespace drought
