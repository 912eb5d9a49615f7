// Streams of the simulated device that capture: what is recorded in place of being run, and which calls
// break a capture, as an H200's driver was measured to answer.
//
// A capture's nodes are kept in the order of the calls, which is one of the orders that its streams and
// events allow; a replay runs them in it.
#pragma once

#include <map>
#include <vector>

#include "harness/device/host_streams.hpp"

namespace drought {

struct GraphNode {
  HostStreams::Work work;                   ///< Empty for a memory node.
  std::uintptr_t allocates = 0, frees = 0;  ///< The block of a memory node.
};
using GraphNodes = std::vector<GraphNode>;

class HostCaptures {
 public:
  /// stream_capture_unsupported for the legacy stream, illegal_state for one that captures.
  Status begin(Stream stream, CaptureMode mode);
  /// The stream captures no more, whatever the answer. illegal_state when it did not begin a capture;
  /// stream_capture_unjoined when a stream that joined has work the first one does not wait for. `out` is
  /// what was recorded, of a broken capture too.
  Status end(Stream stream, GraphNodes& out);
  CaptureStatus status(Stream stream) const;
  bool records(Stream stream) const { return status(stream) == CaptureStatus::active; }
  void record(Stream stream, GraphNode node);
  /// The stream goes, and with it a capture that it began, whose nodes are handed out.
  void destroy(Stream stream, GraphNodes& out);

  // Each of these answers success, or why the call cannot be made; the capture in its way is then broken.
  /// A call that puts work into `stream`.
  Status admit_work(Stream stream);
  /// A call that waits for `stream`.
  Status admit_wait(Stream stream);
  /// A call that waits for everything.
  Status admit_wait_for_all();
  /// A call that could wait, like cudaMalloc.
  Status admit_unsafe();
  Status admit_query(Event event);
  /// Sets `captured` when the event now marks a place in a capture and no work.
  Status record_event(Event event, Stream stream, bool& captured);
  /// Sets `captured` when the wait is part of a capture, which `stream` joins.
  Status wait_event(Stream stream, Event event, bool& captured);

 private:
  struct Capture {
    std::uint64_t origin = 0;
    CaptureMode mode{};
    bool broken = false;
    GraphNodes nodes;
    std::map<std::uint64_t, bool> open;  ///< Streams that joined: whether nobody waits for their last work.
  };
  struct Mark {
    std::uint64_t capture = 0, stream = 0;
    std::size_t nodes = 0;  ///< Of the capture, when the event was recorded.
  };

  Capture* of(Stream stream);
  Status refuse_all(Status why);

  std::map<std::uint64_t, Capture> captures_;       ///< By number.
  std::map<std::uint64_t, std::uint64_t> streams_;  ///< Stream to capture.
  std::map<std::uint64_t, std::size_t> last_work_;  ///< Of each capturing stream: nodes after its last one.
  std::map<std::uint64_t, Mark> marks_;             ///< By event.
  std::uint64_t next_ = 1;
};

}  // namespace drought
