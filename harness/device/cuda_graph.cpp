// Captures and graphs of the cuda lane: the driver's own, under ids that cannot be mistaken for stale
// pointers. A cap counts what graphs take and refuses none of it, because only the driver knows it before.
#include "harness/device/cuda_device.hpp"

namespace drought {
namespace {

cudaStreamCaptureMode mode_of(CaptureMode mode) {
  switch (mode) {
    case CaptureMode::global:
      return cudaStreamCaptureModeGlobal;
    case CaptureMode::thread:
      return cudaStreamCaptureModeThreadLocal;
    case CaptureMode::relaxed:
      return cudaStreamCaptureModeRelaxed;
  }
  return cudaStreamCaptureModeGlobal;
}

}  // namespace

Status CudaDevice::do_stream_begin_capture(Stream stream, CaptureMode mode) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  const Status status = as_status(cudaStreamBeginCapture(queue, mode_of(mode)));
  if (status != Status::success) return status;
  capturing_.insert(stream.id);
  has_captured_ = true;
  return status;
}

Status CudaDevice::do_stream_end_capture(Stream stream, Graph& out) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  cudaGraph_t graph{};
  const Status status = as_status(cudaStreamEndCapture(queue, &graph));
  capturing_.erase(stream.id);
  if (status != Status::success) return status;
  out = Graph{++ids_given_};
  graphs_.emplace(out.id, graph);
  return status;
}

Status CudaDevice::do_stream_capture_status(Stream stream, CaptureStatus& out) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  cudaStreamCaptureStatus answer{};
  const Status status = as_status(cudaStreamIsCapturing(queue, &answer));
  if (status != Status::success) return status;
  out = answer == cudaStreamCaptureStatusNone     ? CaptureStatus::none
        : answer == cudaStreamCaptureStatusActive ? CaptureStatus::active
                                                  : CaptureStatus::invalidated;
  return status;
}

Status CudaDevice::do_graph_instantiate(GraphInstance& out, Graph graph) {
  const auto found = graphs_.find(graph.id);
  if (found == graphs_.end()) return Status::invalid_value;
  cudaGraphExec_t made{};
  const Status status = as_status(cudaGraphInstantiate(&made, found->second, 0));
  if (status != Status::success) return status;
  out = GraphInstance{++ids_given_};
  graph_instances_.emplace(out.id, made);
  return status;
}

Status CudaDevice::do_graph_launch(GraphInstance instance, Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  const auto found = graph_instances_.find(instance.id);
  if (found == graph_instances_.end()) return Status::invalid_value;
  return as_status(cudaGraphLaunch(found->second, queue));
}

Status CudaDevice::do_graph_destroy(Graph graph) {
  const auto found = graphs_.find(graph.id);
  if (found == graphs_.end()) return Status::invalid_value;
  const Status status = as_status(cudaGraphDestroy(found->second));
  if (status == Status::success) graphs_.erase(found);
  return status;
}

Status CudaDevice::do_graph_instance_destroy(GraphInstance instance) {
  const auto found = graph_instances_.find(instance.id);
  if (found == graph_instances_.end()) return Status::invalid_value;
  const Status status = as_status(cudaGraphExecDestroy(found->second));
  if (status == Status::success) graph_instances_.erase(found);
  return status;
}

Status CudaDevice::do_graph_memory_trim() { return as_status(cudaDeviceGraphMemTrim(0)); }

void CudaDevice::give_back_graphs() {
  for (const std::uint64_t id : capturing_) {
    cudaGraph_t lost{};
    (void)as_status(cudaStreamEndCapture(streams_.at(id), &lost));
    if (lost) closing(cudaGraphDestroy(lost), "cudaGraphDestroy");
  }
  for (const auto& [id, instance] : graph_instances_)
    closing(cudaGraphExecDestroy(instance), "cudaGraphExecDestroy");
  for (const auto& [id, graph] : graphs_) closing(cudaGraphDestroy(graph), "cudaGraphDestroy");
  capturing_.clear();
  graph_instances_.clear();
  graphs_.clear();
}

}  // namespace drought
