#include "harness/trace/chrome_writer.hpp"

#include <algorithm>
#include <fstream>

#include "harness/memory/address_table.hpp"

namespace drought {
namespace {

class DeviceTimeline {
 public:
  DeviceTimeline(std::ostream& out, const Trace& trace, std::size_t device, std::uint64_t& slices)
      : out_(out), trace_(trace), events_(trace.device_traces[device]), device_(device), slices_(slices) {
    has_times_ = std::any_of(events_.begin(), events_.end(),
                             [&](const TraceEvent& event) { return event.time_us != events_[0].time_us; });
  }

  void write() {
    begin("M", "process_name") << ",\"args\":{\"name\":\"device " << device_ << "\"}}";
    for (std::size_t i = 0; i < events_.size(); ++i) {
      time_us_ = has_times_ ? events_[i].time_us - events_[0].time_us : static_cast<std::int64_t>(i);
      write_event(events_[i]);
    }
    // What was never freed lasts to the end; without an end its slice would not be drawn.
    live_.for_each([&](std::uintptr_t, const Slice& slice) { end(slice); });
  }

 private:
  struct Slice {
    std::uint64_t number = 0, bytes = 0, stream = 0;
    PoolId pool{};
  };

  void write_event(const TraceEvent& event) {
    switch (event.action) {
      case TraceAction::alloc:
        return allocate(event);
      case TraceAction::free_completed:
        return free(event.address);
      case TraceAction::segment_alloc:
      case TraceAction::segment_map:
        reserved_bytes_ += event.bytes;
        return mark(event);
      case TraceAction::segment_free:
      case TraceAction::segment_unmap:
        reserved_bytes_ -= std::min(reserved_bytes_, event.bytes);
        return mark(event);
      case TraceAction::oom:
        return mark(event);
      case TraceAction::free_requested:
      case TraceAction::snapshot:
        return;
    }
  }

  void allocate(const TraceEvent& event) {
    if (event.address == 0) return;
    free(event.address);
    Slice slice{slices_++, event.bytes, event.stream};
    if (event.has_pool && event.pool < trace_.pools.size()) slice.pool = trace_.pools[event.pool];
    live_.insert(event.address, slice);
    live_bytes_ += event.bytes;
    begin_slice("b", slice) << ",\"args\":{\"bytes\":" << event.bytes << ",\"address\":" << event.address
                            << "}}";
    count();
  }

  void free(std::uint64_t address) {
    Slice* const known = live_.find(address);
    if (!known) return;
    const Slice slice = *known;
    live_.erase(known);
    live_bytes_ -= slice.bytes;
    end(slice);
    count();
  }

  void end(const Slice& slice) { begin_slice("e", slice) << "}"; }

  void mark(const TraceEvent& event) {
    begin("i", name(event.action)) << ",\"s\":\"p\",\"args\":{\"bytes\":" << event.bytes
                                   << ",\"address\":" << event.address << "}}";
    count();
  }

  void count() {
    begin("C", "memory") << ",\"args\":{\"live\":" << live_bytes_ << ",\"reserved\":" << reserved_bytes_
                         << "}}";
  }

  std::ostream& begin_slice(const char* phase, const Slice& slice) {
    const std::string track = "stream " + std::to_string(slice.stream) + ", pool (" +
                              std::to_string(slice.pool.first) + ", " + std::to_string(slice.pool.second) +
                              ")";
    return begin(phase, track) << ",\"cat\":\"block\",\"id\":" << slice.number;
  }

  /// An object, left open.
  std::ostream& begin(const char* phase, std::string_view what) {
    return out_ << (std::exchange(is_first_, false) && device_ == 0 ? "\n" : ",\n") << "{\"ph\":\"" << phase
                << "\",\"name\":\"" << what << "\",\"pid\":" << device_ << ",\"tid\":0,\"ts\":" << time_us_;
  }

  std::ostream& out_;
  const Trace& trace_;
  const std::vector<TraceEvent>& events_;
  const std::size_t device_;
  std::uint64_t& slices_;
  AddressTable<Slice> live_;
  std::uint64_t live_bytes_ = 0, reserved_bytes_ = 0;
  std::int64_t time_us_ = 0;
  bool has_times_ = false, is_first_ = true;
};

}  // namespace

void write_chrome(std::ostream& out, const Trace& trace) {
  out << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  std::uint64_t slices = 0;
  for (std::size_t device = 0; device < trace.device_traces.size(); ++device)
    DeviceTimeline(out, trace, device, slices).write();
  out << "\n]}\n";
}

void write_chrome(const std::string& path, const Trace& trace) {
  std::ofstream out(path);
  write_chrome(out, trace);
  if (!out.flush()) throw TraceError(path + ": cannot be written");
}

}  // namespace drought
