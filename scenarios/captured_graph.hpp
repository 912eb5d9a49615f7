// A captured and instantiated graph with its owner. What is captured are the device calls that a function
// makes, so that a workload records its step by running it.
#pragma once

#include <utility>

#include "scenarios/device_calls.hpp"

namespace drought {

class CapturedGraph {
 public:
  /// Captures what `body()` puts into `stream`, in relaxed mode, as llama.cpp and PyTorch's allocator do.
  /// Throws what `body` throws, or DeviceError; the stream captures no more then. `device` outlives this.
  template <typename Body>
  CapturedGraph(Device& device, Stream stream, Body&& body) : device_(device) {
    must(device_.stream_begin_capture(stream, CaptureMode::relaxed), "cudaStreamBeginCapture");
    Graph graph;
    try {
      std::forward<Body>(body)();
    } catch (...) {
      if (device_.stream_end_capture(stream, graph) == Status::success) (void)device_.graph_destroy(graph);
      throw;
    }
    must(device_.stream_end_capture(stream, graph), "cudaStreamEndCapture");
    const Status status = device_.graph_instantiate(instance_, graph);
    (void)device_.graph_destroy(graph);
    must(status, "cudaGraphInstantiate");
  }
  ~CapturedGraph() {
    (void)device_.graph_instance_destroy(instance_);
    // What its memory nodes mapped stays with the device until somebody asks for it.
    (void)device_.graph_memory_trim();
  }
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  void launch(Stream stream) { must(device_.graph_launch(instance_, stream), "cudaGraphLaunch"); }

 private:
  Device& device_;
  GraphInstance instance_;
};

}  // namespace drought
