// Streams and events of the cuda lane. An id that is not alive never reaches the driver, which would
// follow the stale pointer that its handles are.
#include "harness/device/cuda_device.hpp"

namespace drought {

bool CudaDevice::find(Stream stream, cudaStream_t& out) const {
  out = nullptr;
  if (stream.id == 0) return true;
  const auto found = streams_.find(stream.id);
  if (found == streams_.end()) return false;
  out = found->second;
  return true;
}

bool CudaDevice::find(Event event, cudaEvent_t& out) const {
  const auto found = events_.find(event.id);
  if (found == events_.end()) return false;
  out = found->second;
  return true;
}

Status CudaDevice::do_stream_create(Stream& out) {
  cudaStream_t stream{};
  const Status status = as_status(cudaStreamCreate(&stream));
  if (status != Status::success) return status;
  out = Stream{++ids_given_};
  streams_.emplace(out.id, stream);
  return status;
}

Status CudaDevice::do_stream_destroy(Stream stream) {
  const auto found = streams_.find(stream.id);
  if (found == streams_.end()) return Status::invalid_resource_handle;
  const Status status = as_status(cudaStreamDestroy(found->second));
  if (status != Status::success) return status;
  capturing_.erase(stream.id);
  streams_.erase(found);
  return status;
}

Status CudaDevice::do_stream_synchronize(Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  ++waits_;
  return as_status(cudaStreamSynchronize(queue));
}

Status CudaDevice::do_stream_wait_event(Stream stream, Event event) {
  cudaStream_t queue{};
  cudaEvent_t mark{};
  if (!find(stream, queue) || !find(event, mark)) return Status::invalid_resource_handle;
  return as_status(cudaStreamWaitEvent(queue, mark, cudaEventWaitDefault));
}

Status CudaDevice::do_event_create(Event& out) {
  cudaEvent_t event{};
  const Status status = as_status(cudaEventCreate(&event));
  if (status != Status::success) return status;
  out = Event{++ids_given_};
  events_.emplace(out.id, event);
  return status;
}

Status CudaDevice::do_event_destroy(Event event) {
  const auto found = events_.find(event.id);
  if (found == events_.end()) return Status::invalid_resource_handle;
  const Status status = as_status(cudaEventDestroy(found->second));
  if (status != Status::success) return status;
  unasked_.erase(event.id);
  events_.erase(found);
  return status;
}

Status CudaDevice::do_event_record(Event event, Stream stream) {
  cudaStream_t queue{};
  cudaEvent_t mark{};
  if (!find(stream, queue) || !find(event, mark)) return Status::invalid_resource_handle;
  const Status status = as_status(cudaEventRecord(mark, queue));
  if (status == Status::success) unasked_[event.id] = waits_;
  return status;
}

Status CudaDevice::do_event_query(Event event) {
  cudaEvent_t mark{};
  if (!find(event, mark)) return Status::invalid_resource_handle;
  const Status now = as_status(cudaEventQuery(mark));
  if (!repeatable_ || (now != Status::success && now != Status::not_ready)) return now;
  const auto unasked = unasked_.find(event.id);
  const bool may_be_pending = unasked != unasked_.end() && unasked->second == waits_;
  unasked_.erase(event.id);
  return may_be_pending ? Status::not_ready : as_status(cudaEventSynchronize(mark));
}

Status CudaDevice::do_event_synchronize(Event event) {
  cudaEvent_t mark{};
  if (!find(event, mark)) return Status::invalid_resource_handle;
  ++waits_;
  return as_status(cudaEventSynchronize(mark));
}

Status CudaDevice::do_synchronize() {
  ++waits_;
  return as_status(cudaDeviceSynchronize());
}

}  // namespace drought
