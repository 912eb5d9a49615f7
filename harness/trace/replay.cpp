#include "harness/trace/replay.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "harness/memory/bytes.hpp"
#include "harness/trace/device_replay.hpp"
#include "harness/trace/snapshot.hpp"
#include "harness/trace/trace_settings.hpp"

namespace drought {
namespace {

constexpr std::size_t kTriesMax = 200;

// What this thread has computed, not what passed on the wall: other work on the machine is no cost.
double thread_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// Looks for the assumptions under which a run has no difference, or else the first one latest.
class Search {
 public:
  Search(const RecordedRun& run, const ReplayAllocator& make) : run_(run), make_(make) {
    best_.assumed.conf = conf_of(run.trace.settings);
    best_.assumed.looks_for_pools = run.has_pools;
    const DeviceReplay asked(run, make, best_.assumed);
    const Resumes* const rules = asked.resumes();
    if (!asked.is_compared() || !rules) return;
    can_assume_ = true;
    collects_above_ = rules->collects_above();
    bounds_ = cap_bounds(run, [&](std::size_t bytes) { return rules->segment_bytes(bytes); });
  }

  /// The best run, played to its end.
  const DeviceReplay& find() {
    if (can_assume_ && bounds_.explain_refusals()) best_.assumed.cap_bytes = bounds_.least;
    best_.end = play(best_.assumed);
    if (!can_assume_ || !differs()) return *replay_;
    if (collects_above_ > 0) find_threshold();
    if (differs() && best_.assumed.cap_bytes && collects_above_ == 0) try_without_cap();
    if (differs() && !run_.has_pools) try_pools();
    find_moments();
    if (differs() || is_stale_) play(best_.assumed);
    return *replay_;
  }

  const Assumptions& assumed() const { return best_.assumed; }
  double collects_above() const { return collects_above_; }
  double ns() const { return ns_; }

 private:
  struct End {
    std::size_t differs_at = 0, found = 0;
    bool gave_back_too_much = false;
  };
  struct Best {
    Assumptions assumed;
    End end;
    std::vector<std::size_t> doubtful;
  };

  bool differs() const { return best_.end.found != 0; }

  End play(const Assumptions& assumed) {
    ++tries_;
    replay_ = nullptr;
    tried_ = assumed;
    replay_ = std::make_unique<DeviceReplay>(run_, make_, tried_);
    const double begin = thread_ns();
    replay_->play();
    ns_ = thread_ns() - begin;
    if (replay_->is_compared()) replay_->compare_segments();
    const Differences& seen = replay_->differences();
    is_stale_ = true;
    return {seen.found ? call_of(seen.first_event) : DeviceReplay::kWholeTrace, seen.found,
            seen.gave_back_too_much};
  }

  /// The event that a segment event leads up to: what only moves a difference within it explains nothing.
  std::size_t call_of(std::size_t event) const {
    const auto is_of_segment = [](TraceAction action) {
      return action >= TraceAction::segment_alloc && action <= TraceAction::segment_unmap;
    };
    while (event + 1 < run_.events.size() && is_of_segment(run_.events[event].action)) ++event;
    return event;
  }

  /// Keeps what it is told to assume if that explains more of the trace.
  bool keeps(const Assumptions& assumed) {
    if (tries_ >= kTriesMax) return false;
    const End end = play(assumed);
    if (end.differs_at <= best_.end.differs_at) return false;
    best_ = {assumed, end, replay_->doubtful()};
    is_stale_ = false;
    return true;
  }

  void try_without_cap() {
    Assumptions assumed = best_.assumed;
    assumed.cap_bytes = 0;
    keeps(assumed);
  }

  void try_pools() {
    Assumptions assumed = best_.assumed;
    assumed.looks_for_pools = true;
    keeps(assumed);
  }

  // Memory is collected above a part of the cap. Segments are multiples of 2 MiB, so no finer threshold
  // makes a difference; too low a one gives back too much.
  void find_threshold() {
    std::size_t least =
        static_cast<std::size_t>(collects_above_ * static_cast<double>(bounds_.least)) / 2_MiB;
    std::size_t most =
        bounds_.explain_refusals()
            ? static_cast<std::size_t>(collects_above_ * static_cast<double>(bounds_.too_much)) / 2_MiB
            : 2 * (bounds_.least / 2_MiB) + 1;
    while (differs() && least <= most && tries_ < kTriesMax) {
      const std::size_t middle = least + (most - least) / 2;
      Assumptions assumed = best_.assumed;
      const double cap = static_cast<double>(middle * 2_MiB) / collects_above_;
      assumed.cap_bytes = std::max(bounds_.least, static_cast<std::size_t>(std::ceil(cap)));
      if (bounds_.too_much != ~std::size_t{0})
        assumed.cap_bytes = std::min(assumed.cap_bytes, bounds_.too_much - 1);
      const End end = play(assumed);
      if (end.differs_at > best_.end.differs_at) best_ = {assumed, end, replay_->doubtful()};
      if (end.gave_back_too_much)
        least = middle + 1;
      else if (middle == 0)
        break;
      else
        most = middle - 1;
    }
  }

  // Of the requests up to the first difference at which another cause or moment is possible, the latest
  // are tried otherwise first.
  void find_moments() {
    bool has_gained = true;
    if (differs()) {
      play(best_.assumed);
      best_.doubtful = replay_->doubtful();
    }
    while (differs() && has_gained) {
      has_gained = false;
      auto after = std::upper_bound(best_.doubtful.begin(), best_.doubtful.end(), best_.end.differs_at);
      std::vector<std::size_t> sites(best_.doubtful.begin(), after);
      if (after != best_.doubtful.end()) sites.push_back(*after);
      for (std::size_t n = 0; n < std::min<std::size_t>(sites.size(), 6) && !has_gained; ++n) {
        const std::size_t site = sites[sites.size() - 1 - n];
        for (int way = 1; way < 4 && !has_gained; ++way) {
          Assumptions assumed = best_.assumed;
          if (way & 1) flip(assumed.other_moment, site);
          if (way & 2) flip(assumed.other_cause, site);
          has_gained = keeps(assumed);
        }
      }
    }
  }

  static void flip(std::set<std::size_t>& sites, std::size_t site) {
    if (!sites.insert(site).second) sites.erase(site);
  }

  const RecordedRun& run_;
  const ReplayAllocator& make_;
  Best best_;
  Assumptions tried_;
  CapBounds bounds_;
  std::unique_ptr<DeviceReplay> replay_;  // Of tried_.
  bool can_assume_ = false, is_stale_ = false;
  double collects_above_ = 0, ns_ = 0;
  std::size_t tries_ = 0;
};

std::string explain(const RecordedRun& run, const DeviceReplay& played, const ReplayAllocator& make,
                    const Assumptions& assumed) {
  const Differences& differences = played.differences();
  std::string text = "device " + std::to_string(run.device) + ", event " +
                     std::to_string(differences.first_event) + ": " + differences.first;
  if (run.events.empty()) return text;
  DeviceReplay again(run, make, assumed);
  again.play(differences.first_event);
  return text +
         "; free blocks of its stream before: " + again.listing(run.events[differences.first_event].stream);
}

}  // namespace

ReplayResult replay(const Trace& trace, const ReplayAllocator& make) try {
  ReplayResult result;
  result.trace = trace.name;
  std::size_t calls = 0;
  double spent_ns = 0;
  for (std::size_t device = 0; device < trace.device_traces.size(); ++device) {
    const RecordedRun run(trace, device);
    if (run.events.empty()) continue;
    result.events += run.events.size();
    Search search(run, make);
    const DeviceReplay& played = search.find();
    if (played.is_compared() && !result.differences) result.differences = 0;
    spent_ns += search.ns();
    played.add_to(result);
    calls += played.calls();
    result.inferred.start += run.start.size();
    result.unverified_ages += !run.start.empty() && search.collects_above() > 0;
    if (played.is_compared() && played.differences().found != 0 && result.first_difference.empty())
      result.first_difference = explain(run, played, make, search.assumed());
  }
  result.ns_per_op = calls ? spent_ns / static_cast<double>(calls) : 0;
  return result;
} catch (const std::invalid_argument& error) {
  throw TraceError(trace.name + ": " + error.what());
}

ReplayResult replay_file(const std::string& path, const ReplayAllocator& make) {
  return replay(read_snapshot(path), make);
}

}  // namespace drought
