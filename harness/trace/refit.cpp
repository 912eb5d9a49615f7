#include "harness/trace/refit.hpp"

#include <time.h>

#include <algorithm>

namespace drought {
namespace {

constexpr std::size_t kWholeTrace = ~std::size_t{0};
constexpr std::size_t kCapacityMax = 64_TiB;

// What this thread has computed: other work on the machine is no cost.
double thread_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// An H200 that costs nothing itself, so that its capacity is all the allocator's.
Profile bare_profile(std::size_t capacity_bytes) {
  Profile profile = profile_named("h200");
  if (capacity_bytes == 0)
    capacity_bytes = round_down(profile.free_bytes_at_start(), profile.granularity_bytes);
  profile.total_bytes = capacity_bytes;
  profile.context_bytes = 0;
  profile.first_launch_bytes = 0;
  return profile;
}

/// One device's requests through one allocator.
class DeviceRefit {
 public:
  struct Limits {
    std::size_t stop = kWholeTrace;  ///< Plays the events up to and with this one.
    bool stops_at_refusal = false;
  };

  DeviceRefit(const Trace& trace, std::size_t device, const MakeChain& make, std::size_t capacity_bytes,
              RunRecorder::Keeps keeps)
      : name_(trace.name.c_str()),
        events_(trace.device_traces[device]),
        number_(device),
        device_(make_host_device(bare_profile(capacity_bytes), {.work = Device::Work::shapes})),
        recorder_(*device_, keeps) {
    make_streams();
    try {
      chain_ = make(*device_);
      logs_ = dynamic_cast<LogsDecisions*>(chain_.back().get());
      if (logs_) logs_->log_decisions_to(&recorder_);
    } catch (const OutOfMemory& refusal) {
      note_refusal(refusal.request().bytes, refusal.what());
    }
  }
  ~DeviceRefit() {
    if (logs_) logs_->log_decisions_to(nullptr);
    lent_.for_each([&](std::uintptr_t, const Lent& lent) { deallocate(lent); });
    while (!chain_.empty()) chain_.pop_back();
  }
  DeviceRefit(const DeviceRefit&) = delete;

  void play(Limits limits) {
    if (chain_.empty()) return;
    stop_ = limits.stop;
    try {
      for (index_ = 0; index_ < events_.size() && index_ <= limits.stop; ++index_) {
        step(events_[index_]);
        if (limits.stops_at_refusal && first_refusal_) return;
      }
    } catch (const DeviceError& end) {
      note_refusal(events_[index_].bytes, end.what());
    }
  }

  HeldMemory held() const {
    HeldMemory now;
    now.device = number_;
    now.event = std::min(index_, events_.empty() ? 0 : events_.size() - 1);
    now.reserved_bytes = recorder_.reserved_bytes();
    now.live_bytes = recorder_.live_bytes();
    now.largest_hole_bytes = recorder_.largest_hole_bytes();
    const std::size_t granularity = device_->profile().granularity_bytes;
    const std::size_t packed = round_up(now.live_bytes, granularity);
    now.compaction_frees_bytes = now.reserved_bytes - std::min(now.reserved_bytes, packed);
    return now;
  }

  /// When the event at which play() stopped had been served; a probe's block is still held then.
  HeldMemory held_at_stop() const { return held_at_stop_ ? *held_at_stop_ : held(); }

  RunRecorder& recorder() { return recorder_; }
  const std::optional<FirstRefusal>& first_refusal() const { return first_refusal_; }
  std::size_t capacity_bytes() const { return device_->profile().total_bytes; }
  std::size_t granularity_bytes() const { return device_->profile().granularity_bytes; }
  std::size_t refusals() const { return refusals_; }
  std::size_t calls() const { return calls_; }

 private:
  struct Lent {
    void* data = nullptr;
    std::uint64_t bytes = 0;
    Stream stream{};
    Request request(CallSite from = {}) const { return {.bytes = bytes, .stream = stream, .from = from}; }
  };

  void step(const TraceEvent& event) {
    const bool asks = event.action == TraceAction::alloc || event.action == TraceAction::oom;
    if (!asks && event.action != TraceAction::free_completed) return;
    recorder_.begin(index_, event);
    if (!asks) {
      if (Lent* const known = lent_.find(event.address)) give_back(known);
      return;
    }
    if (event.bytes == 0) return;
    Lent lent{nullptr, event.bytes, stream_of(event.stream)};
    lent.data = allocate(lent);
    if (!lent.data) return;
    if (event.action == TraceAction::oom || event.address == 0) return deallocate(lent);
    if (Lent* const known = lent_.find(event.address)) give_back(known);  // Its free was not recorded.
    lent_.insert(event.address, lent);
  }

  void* allocate(const Lent& lent) {
    ++calls_;
    try {
      void* const data = chain_.back()->allocate(lent.request({name_, static_cast<int>(index_)}));
      recorder_.lent(data, lent.bytes);
      if (index_ == stop_) held_at_stop_ = held();
      return data;
    } catch (const OutOfMemory& refusal) {
      note_refusal(lent.bytes, refusal.what());
      return nullptr;
    }
  }

  void give_back(Lent* known) {
    const Lent lent = *known;
    lent_.erase(known);
    deallocate(lent);
  }

  void deallocate(const Lent& lent) {
    ++calls_;
    recorder_.returning(lent.data);
    chain_.back()->deallocate(lent.data, lent.request());
  }

  // The trace's handles are those of another process; each gets a stream of this device. They are made in
  // the handles' order, by which allocators that keep streams in a set give back.
  void make_streams() {
    for (const TraceEvent& event : events_)
      if (event.stream != 0) streams_.try_emplace(event.stream);
    for (auto& [handle, stream] : streams_) {
      const Status made = device_->stream_create(stream);
      if (made != Status::success) throw DeviceError(made, "cudaStreamCreate");
    }
  }
  Stream stream_of(std::uint64_t handle) const { return handle == 0 ? Stream() : streams_.at(handle); }

  void note_refusal(std::size_t bytes, const std::string& why) {
    ++refusals_;
    recorder_.refused(bytes);
    if (first_refusal_) return;
    FirstRefusal refusal{held()};
    refusal.request_bytes = bytes;
    refusal.stream = index_ < events_.size() ? events_[index_].stream : 0;
    refusal.free_bytes = capacity_bytes() - std::min(capacity_bytes(), refusal.reserved_bytes);
    refusal.why = why;
    first_refusal_ = refusal;
  }

  const char* const name_;
  const std::vector<TraceEvent>& events_;
  const std::size_t number_;
  std::unique_ptr<Device> device_;
  RunRecorder recorder_;
  ResourceChain chain_;
  LogsDecisions* logs_ = nullptr;
  AddressTable<Lent> lent_;
  std::map<std::uint64_t, Stream> streams_;
  std::optional<FirstRefusal> first_refusal_;
  std::optional<HeldMemory> held_at_stop_;
  std::size_t stop_ = kWholeTrace;
  std::size_t index_ = 0, refusals_ = 0, calls_ = 0;
};

bool serves(const Trace& trace, std::size_t device, const MakeChain& make, std::size_t capacity_bytes) {
  DeviceRefit run(trace, device, make, capacity_bytes, RunRecorder::Keeps::figures);
  run.play({.stops_at_refusal = true});
  return !run.first_refusal();
}

/// The least capacity for one device; `fitting_bytes` is one that serves, or 0 if none is known.
std::optional<std::size_t> least_capacity(const Trace& trace, std::size_t device, const MakeChain& make,
                                          std::size_t fitting_bytes, const Refit& refit) {
  const std::size_t step = refit.granularity_bytes;
  std::size_t high = round_up(std::max(fitting_bytes, step), step);
  // Capacities are doubled until one serves, should the known one not do when it is all there is.
  for (; !serves(trace, device, make, high); high *= 2)
    if (high > kCapacityMax / 2) return std::nullopt;
  std::size_t low = 0;
  while (high - low > step) {
    const std::size_t middle = round_up(low + (high - low) / 2, step);
    if (middle == high) break;
    (serves(trace, device, make, middle) ? high : low) = middle;
  }
  return high;
}

void add_calls(Refit& refit, const RunRecorder& recorder) {
  for (int i = 0; i < site_count; ++i) {
    const auto site = static_cast<Site>(i);
    if (recorder.calls(site)) refit.driver_calls[std::string(name(site))] += recorder.calls(site);
  }
}

void append(Trace& recorded, Trace part) {
  if (!recorded.frames_in)  // Whoever owns the frames may end before the recording does.
    for (TraceEvent& event : part.device_traces.back()) event.frames = {};
  recorded.device_traces.resize(std::max(recorded.device_traces.size(), part.device_traces.size()));
  recorded.device_traces.back() = std::move(part.device_traces.back());
  std::move(part.segments.begin(), part.segments.end(), std::back_inserter(recorded.segments));
}

}  // namespace

RefitRun refit(const Trace& trace, const MakeChain& make, const RefitOptions& options) {
  RefitRun run;
  ReplayResult& result = run.report.result;
  result.trace = run.recorded.name = trace.name;
  run.recorded.pools = trace.pools;
  run.recorded.frames_in = trace.frames_in;
  run.recorded.settings.conf = trace.settings.conf;
  Refit& refit = run.report.refit.emplace();
  refit.allocator = options.allocator;
  refit.sought_capacity = options.finds_capacity;
  std::size_t calls = 0;
  double spent_ns = 0;
  bool is_impossible = false;
  for (std::size_t device = 0; device < trace.device_traces.size(); ++device) {
    if (trace.device_traces[device].empty()) continue;
    const auto keeps = options.records ? RunRecorder::Keeps::events : RunRecorder::Keeps::figures;
    std::size_t peak_event = 0;
    bool fits = false;
    HeldMemory at_end;
    {
      DeviceRefit whole(trace, device, make, options.capacity_bytes, keeps);
      const double begin_ns = thread_ns();
      whole.play({});
      spent_ns += thread_ns() - begin_ns;
      RunRecorder& recorder = whole.recorder();
      at_end = whole.held();
      peak_event = recorder.peak_event();
      fits = !whole.first_refusal();
      if (!fits && !refit.first_refusal) refit.first_refusal = whole.first_refusal();
      calls += whole.calls();
      result.refused += whole.refusals();
      result.peak_reserved_bytes += recorder.peak_reserved_bytes();
      refit.capacity_bytes = whole.capacity_bytes();
      refit.granularity_bytes = whole.granularity_bytes();
      refit.peak_live_bytes = std::max(refit.peak_live_bytes, recorder.peak_live_bytes());
      add_calls(refit, recorder);
      if (options.records) append(run.recorded, recorder.take(trace.name, device));
    }
    result.events += trace.device_traces[device].size();
    result.reserved_bytes += at_end.reserved_bytes;
    result.live_bytes += at_end.live_bytes;
    DeviceRefit to_peak(trace, device, make, options.capacity_bytes, RunRecorder::Keeps::figures);
    to_peak.play({.stop = peak_event});
    HeldMemory peak = to_peak.held_at_stop();
    peak.event = peak_event;
    if (peak.reserved_bytes > refit.peak.reserved_bytes) refit.peak = peak;
    if (!options.finds_capacity) continue;
    const auto least =
        least_capacity(trace, device, make, fits ? peak.reserved_bytes : refit.capacity_bytes, refit);
    is_impossible = is_impossible || !least;
    refit.least_capacity_bytes = std::max(refit.least_capacity_bytes.value_or(0), least.value_or(0));
  }
  if (is_impossible) refit.least_capacity_bytes.reset();
  refit.fits = !refit.first_refusal;
  result.ns_per_op = calls ? spent_ns / static_cast<double>(calls) : 0;
  return run;
}

}  // namespace drought
