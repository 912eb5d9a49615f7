// The public calls on capture and graphs. What was recorded is kept here, above the lanes, so that the
// ledger can judge a replay as it judges the calls themselves.
#include "harness/device/device_call.hpp"

namespace drought {

Status Device::stream_begin_capture(Stream stream, CaptureMode mode) {
  return through({.site = Site::cudaStreamBeginCapture, .stream = stream}, [&] {
    const Status status = do_stream_begin_capture(stream, mode);
    if (status == Status::success) recordings_.begin(stream);
    return status;
  });
}

Status Device::stream_end_capture(Stream stream, Graph& out) {
  out = {};
  return through({.site = Site::cudaStreamEndCapture, .stream = stream}, [&] {
    const Status status = do_stream_end_capture(stream, out);
    if (status != Status::success) out = {};
    recordings_.end(stream, out);
    return status;
  });
}

Status Device::stream_capture_status(Stream stream, CaptureStatus& out) {
  return through({.site = Site::cudaStreamIsCapturing, .stream = stream},
                 [&] { return do_stream_capture_status(stream, out); });
}

Status Device::graph_instantiate(GraphInstance& out, Graph graph) {
  Call call{.site = Site::cudaGraphInstantiate, .operands = recordings_.operands(graph), .graph = graph.id};
  return through(call, [&] {
    const Status status = do_graph_instantiate(out, graph);
    if (status == Status::success) recordings_.instantiated(out, graph);
    return status;
  });
}

Status Device::graph_launch(GraphInstance instance, Stream stream) {
  const std::shared_ptr<const Recording> recording = recordings_.of(instance);
  Call call{.site = Site::cudaGraphLaunch, .stream = stream};
  if (recording) {
    call.operands = recording->operands;
    call.kernel = recording->title;
    call.graph = recording->graph.id;
  }
  call.captured = recordings_.captures(stream);
  return through(call, [&] {
    const Status status = do_graph_launch(instance, stream);
    if (status == Status::success && recording) recordings_.add(stream, recording->title, call.operands);
    return status;
  });
}

Status Device::graph_destroy(Graph graph) {
  return through({.site = Site::cudaGraphDestroy}, [&] {
    const Status status = do_graph_destroy(graph);
    if (status == Status::success) recordings_.forget(graph);
    return status;
  });
}

Status Device::graph_instance_destroy(GraphInstance instance) {
  const std::shared_ptr<const Recording> recording = recordings_.of(instance);
  Call call{.site = Site::cudaGraphExecDestroy, .graph = recording ? recording->graph.id : 0};
  return through(call, [&] {
    const Status status = do_graph_instance_destroy(instance);
    if (status == Status::success) recordings_.forget(instance);
    return status;
  });
}

Status Device::graph_memory_trim() {
  return through({.site = Site::cudaDeviceGraphMemTrim}, [&] { return do_graph_memory_trim(); });
}

}  // namespace drought
