// Streams and events of the simulated device. Work waits in its stream and retires later: at
// synchronising calls, and at any other call by a seeded choice among all work that CUDA would allow
// to run. So every legal interleaving can happen, and one seed always gives the same one.
//
// Stream 0 is CUDA's legacy default stream: it waits for all earlier work, and all later work waits
// for it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/sched/random.hpp"

namespace drought {

class HostStreams {
 public:
  /// Does the work; anything but success is a fault of the whole context.
  using Work = std::function<Status()>;

  explicit HostStreams(std::uint64_t seed);

  Stream create();
  /// Pending work still retires. The caller knows that the stream exists; 0 cannot be destroyed.
  void destroy(Stream stream);
  bool exists(Stream stream) const;

  /// After a fault nothing runs any more and `work` is dropped.
  void enqueue(Stream stream, Work work);

  Event create_event();
  void destroy_event(Event event) { events_.erase(event.id); }
  bool exists(Event event) const { return events_.count(event.id) != 0; }
  void record(Event event, Stream stream);
  /// What `stream` gets from now on waits for the event's latest record.
  void wait(Stream stream, Event event);
  bool is_pending(Event event) const { return is_pending(events_.at(event.id)); }

  /// Retires some work or none, by the seed.
  void progress();
  void drain(Stream stream);
  void drain(Event event);
  void drain();

  /// success, or what the first failing work answered.
  Status fault() const { return fault_; }

 private:
  /// A place in a stream's order; number 0 is before everything.
  struct Mark {
    std::uint64_t stream = 0, number = 0;
  };
  struct Task {
    std::uint64_t number;
    Mark after;  ///< Does not run before this has retired.
    Work work;   ///< May be empty: a record or a wait.
  };
  struct Queue {
    std::deque<Task> tasks;
    bool destroyed = false;
  };

  Mark push(Stream stream, Mark after, Work work);
  bool is_pending(Mark mark) const;
  bool may_run(std::uint64_t stream, const Task& task) const;
  void retire_one();
  void drain(Mark mark);

  std::map<std::uint64_t, Queue> queues_;  ///< Ordered, so that a choice means the same in every run.
  std::map<std::uint64_t, Mark> events_;
  std::vector<std::uint64_t> runnable_;
  std::uint64_t next_stream_ = 1, next_event_ = 1, next_number_ = 1;
  std::size_t pending_ = 0;
  Status fault_ = Status::success;
  Random random_;
};

}  // namespace drought
