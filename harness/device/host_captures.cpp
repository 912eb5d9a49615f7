#include "harness/device/host_captures.hpp"

#include <algorithm>
#include <utility>

namespace drought {

HostCaptures::Capture* HostCaptures::of(Stream stream) {
  const auto found = streams_.find(stream.id);
  return found == streams_.end() ? nullptr : &captures_.at(found->second);
}

Status HostCaptures::refuse_all(Status why) {
  if (captures_.empty()) return Status::success;
  for (auto& [number, capture] : captures_) capture.broken = true;
  return why;
}

Status HostCaptures::begin(Stream stream, CaptureMode mode) {
  if (stream.id == 0) return Status::stream_capture_unsupported;
  if (of(stream)) return Status::illegal_state;
  captures_[next_] = {.origin = stream.id, .mode = mode};
  streams_[stream.id] = next_++;
  return Status::success;
}

Status HostCaptures::end(Stream stream, GraphNodes& out) {
  const auto found = streams_.find(stream.id);
  if (found == streams_.end() || captures_.at(found->second).origin != stream.id)
    return Status::illegal_state;
  const std::uint64_t number = found->second;
  Capture ended = std::move(captures_.at(number));
  captures_.erase(number);
  std::erase_if(streams_, [&](const auto& entry) { return entry.second == number; });
  std::erase_if(marks_, [&](const auto& entry) { return entry.second.capture == number; });
  out = std::move(ended.nodes);
  if (ended.broken) return Status::stream_capture_invalidated;
  if (std::any_of(ended.open.begin(), ended.open.end(), [](const auto& entry) { return entry.second; }))
    return Status::stream_capture_unjoined;
  return Status::success;
}

CaptureStatus HostCaptures::status(Stream stream) const {
  const auto found = streams_.find(stream.id);
  if (found == streams_.end()) return CaptureStatus::none;
  return captures_.at(found->second).broken ? CaptureStatus::invalidated : CaptureStatus::active;
}

void HostCaptures::record(Stream stream, GraphNode node) {
  Capture& capture = *of(stream);
  capture.nodes.push_back(std::move(node));
  last_work_[stream.id] = capture.nodes.size();
  if (stream.id != capture.origin) capture.open[stream.id] = true;
}

void HostCaptures::destroy(Stream stream, GraphNodes& out) {
  if (Capture* const capture = of(stream)) capture->broken = true;
  (void)end(stream, out);
}

Status HostCaptures::admit_work(Stream stream) {
  if (stream.id == 0) return refuse_all(Status::stream_capture_implicit);
  return status(stream) == CaptureStatus::invalidated ? Status::stream_capture_invalidated : Status::success;
}

Status HostCaptures::admit_wait(Stream stream) {
  if (stream.id == 0) return refuse_all(Status::stream_capture_implicit);
  Capture* const capture = of(stream);
  if (!capture) return Status::success;
  if (capture->broken) return Status::stream_capture_invalidated;
  capture->broken = true;
  return Status::stream_capture_unsupported;
}

Status HostCaptures::admit_wait_for_all() { return refuse_all(Status::stream_capture_unsupported); }

Status HostCaptures::admit_unsafe() {
  // One thread makes all calls, so it is the capturing one.
  bool refused = false;
  for (auto& [number, capture] : captures_) {
    if (capture.mode == CaptureMode::relaxed) continue;
    capture.broken = refused = true;
  }
  return refused ? Status::stream_capture_unsupported : Status::success;
}

Status HostCaptures::admit_query(Event event) {
  const auto mark = marks_.find(event.id);
  if (mark == marks_.end()) return admit_unsafe();
  captures_.at(mark->second.capture).broken = true;
  return Status::captured_event;
}

Status HostCaptures::record_event(Event event, Stream stream, bool& captured) {
  captured = false;
  if (const Status status = admit_work(stream); status != Status::success) return status;
  if (const Capture* const capture = of(stream)) {
    marks_[event.id] = {streams_.at(stream.id), stream.id, capture->nodes.size()};
    captured = true;
  } else {
    marks_.erase(event.id);
  }
  return Status::success;
}

Status HostCaptures::wait_event(Stream stream, Event event, bool& captured) {
  captured = false;
  if (const Status status = admit_work(stream); status != Status::success) return status;
  Capture* const waiting = of(stream);
  const auto mark = marks_.find(event.id);
  if (mark == marks_.end()) {
    if (!waiting) return Status::success;
    waiting->broken = true;
    return Status::stream_capture_isolation;
  }
  Capture& capture = captures_.at(mark->second.capture);
  if (waiting && waiting != &capture) {
    waiting->broken = capture.broken = true;
    return Status::stream_capture_merge;
  }
  captured = true;
  if (!waiting) {
    streams_[stream.id] = mark->second.capture;
    capture.open[stream.id] = true;
    last_work_[stream.id] = capture.nodes.size();
  }
  const auto open = capture.open.find(mark->second.stream);
  if (open != capture.open.end() && mark->second.nodes >= last_work_[open->first]) open->second = false;
  return Status::success;
}

}  // namespace drought
