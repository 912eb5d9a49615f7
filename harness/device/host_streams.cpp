#include "harness/device/host_streams.hpp"

#include <utility>

namespace drought {

HostStreams::HostStreams(std::uint64_t seed) : random_(seed) { queues_[0]; }

Stream HostStreams::create() {
  const Stream stream{next_stream_++};
  queues_[stream.id];
  return stream;
}

void HostStreams::destroy(Stream stream) {
  const auto found = queues_.find(stream.id);
  found->second.destroyed = true;
  if (found->second.tasks.empty()) queues_.erase(found);
}

bool HostStreams::exists(Stream stream) const {
  const auto found = queues_.find(stream.id);
  return found != queues_.end() && !found->second.destroyed;
}

HostStreams::Mark HostStreams::push(Stream stream, Mark after, Work work) {
  if (fault_ != Status::success) return {};
  const Mark mark{stream.id, next_number_++};
  queues_.at(stream.id).tasks.push_back({mark.number, after, std::move(work)});
  ++pending_;
  return mark;
}

void HostStreams::enqueue(Stream stream, Work work) { push(stream, {}, std::move(work)); }

Event HostStreams::create_event() {
  const Event event{next_event_++};
  events_[event.id];
  return event;
}

void HostStreams::record(Event event, Stream stream) { events_.at(event.id) = push(stream, {}, {}); }

void HostStreams::wait(Stream stream, Event event) { push(stream, events_.at(event.id), {}); }

bool HostStreams::is_pending(Mark mark) const {
  const auto found = queues_.find(mark.stream);
  if (found == queues_.end() || found->second.tasks.empty()) return false;
  return found->second.tasks.front().number <= mark.number;
}

bool HostStreams::may_run(std::uint64_t stream, const Task& task) const {
  if (is_pending(task.after)) return false;
  if (stream != 0) {
    const auto& legacy = queues_.begin()->second.tasks;
    return legacy.empty() || legacy.front().number > task.number;
  }
  for (const auto& [id, queue] : queues_)
    if (id != 0 && !queue.tasks.empty() && queue.tasks.front().number < task.number) return false;
  return true;
}

void HostStreams::retire_one() {
  runnable_.clear();
  for (const auto& [id, queue] : queues_)
    if (!queue.tasks.empty() && may_run(id, queue.tasks.front())) runnable_.push_back(id);
  // The oldest task of all can always run, so there is one.
  const auto chosen = queues_.find(runnable_[random_.below(runnable_.size())]);
  const Work work = std::move(chosen->second.tasks.front().work);
  chosen->second.tasks.pop_front();
  --pending_;
  if (chosen->second.destroyed && chosen->second.tasks.empty()) queues_.erase(chosen);
  if (!work) return;
  fault_ = work();
  if (fault_ == Status::success) return;
  for (auto& [id, queue] : queues_) queue.tasks.clear();
  pending_ = 0;
}

void HostStreams::progress() {
  while (pending_ > 0 && (random_() & 1) != 0) retire_one();
}

void HostStreams::drain(Mark mark) {
  while (is_pending(mark)) retire_one();
}

void HostStreams::drain(Stream stream) { drain(push(stream, {}, {})); }

void HostStreams::drain(Event event) { drain(events_.at(event.id)); }

void HostStreams::drain() {
  while (pending_ > 0) retire_one();
}

}  // namespace drought
