// When memory went back and when frees completed, in a replay: what a trace shows only by what followed.
#include <algorithm>

#include "harness/trace/device_replay.hpp"

namespace drought {
namespace {

bool gives_back(TraceAction action) {
  return action == TraceAction::segment_free || action == TraceAction::segment_unmap;
}

}  // namespace

// Segments go back and no request in the trace explains it.
void DeviceReplay::empty_cache(Causes causes) {
  if (causes.empty() || !logs_) return;
  complete(causes);
  const auto is_decision = [](const TraceEvent& event) {
    return event.action != TraceAction::free_completed;
  };
  const auto group = events_.subspan(causes.begin, causes.end - causes.begin);
  const auto first = std::find_if(group.begin(), group.end(), is_decision);
  if (first == group.end()) return;
  driver_.expect(causes.begin, causes.end, std::min(causes.end, events_.size() - 1));
  if (trims_ && gives_back(first->action)) trim(causes);
  driver_.expect_nothing_more();
  note_segments(causes, {});
}

void DeviceReplay::trim(Causes causes) {
  const std::size_t before = differences_.compared;
  ++empty_caches_;
  let_go_of_pools(causes);
  trims_->trim();
  if (differences_.compared == before) differences_.differ(causes.begin, "nothing was there to give back");
}

// Chooses what brought about the events before a request, where the trace leaves it open.
void DeviceReplay::settle(Causes causes, std::size_t i) {
  const auto group = events_.subspan(causes.begin, causes.end - causes.begin);
  const auto gives = [](const TraceEvent& event) { return gives_back(event.action); };
  const bool is_emptied = std::any_of(group.begin(), group.end(), gives);
  const bool has_frees = std::any_of(group.begin(), group.end(), [](const TraceEvent& event) {
    return event.action == TraceAction::free_completed;
  });
  if (!is_emptied && !has_frees && events_[i].action == TraceAction::alloc) return;
  const bool is_oom = events_[i].action == TraceAction::oom;
  const bool is_first_free = group.empty() || !gives(group.front());
  const std::size_t cap = assumed_.cap_bytes;
  bool is_refused = is_oom;
  if (resumes_ && trims_ && cap && !is_oom)
    is_refused = trims_->reserved_bytes() + resumes_->segment_bytes(events_[i].bytes) > cap ||
                 resumes_->collects_above() > 0;
  else if (!is_oom)
    is_refused = run_.has_oom;
  if (is_emptied || has_frees) doubtful_.push_back(i);
  bool trims = trims_ && is_emptied && !is_refused;
  if (is_emptied && !is_oom && trims_ && assumed_.other_cause.contains(i)) trims = !trims;
  bool waits = has_frees && !trims && (is_emptied || is_oom);
  if (has_frees && !trims && is_first_free && assumed_.other_moment.contains(i)) waits = !waits;
  if (!waits) complete(causes);
  if (trims)
    trim(causes);
  else if (is_emptied)
    let_go_of_pools(causes);
}

void DeviceReplay::complete(Causes causes) {
  for (std::size_t i = causes.begin; i != causes.end; ++i) {
    if (events_[i].action != TraceAction::free_completed) continue;
    device_.complete({run_.requests.at(i)});
  }
}

// Blocks that came back although the trace has them waiting on.
void DeviceReplay::check_waits(Causes causes, std::size_t i) {
  complete(causes);
  for (const Stream stream : device_.take_waited()) {
    const auto completion = run_.completions.find(stream.id);
    const bool is_here = completion != run_.completions.end() && completion->second >= causes.begin &&
                         completion->second < causes.end;
    differences_.compare(is_here, i,
                         "expected the block to wait on whose free was requested at event " +
                             std::to_string(stream.id) + ", got its free completed");
  }
}

}  // namespace drought
