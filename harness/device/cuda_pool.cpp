// Stream-ordered and managed memory of the cuda lane. The pool is the device's default one, which the
// driver keeps for the process; under a cap its growth is refused after the fact, because only the driver
// knows what a request will reuse. Managed memory is never oversubscribed: what would not fit is refused.
#include <algorithm>
#include <cstdio>

#include "harness/device/cuda_device.hpp"

namespace drought {
namespace {

Status attribute(cudaMemPool_t pool, cudaMemPoolAttr which, std::size_t& out) {
  std::uint64_t value = 0;
  const Status status = as_status(cudaMemPoolGetAttribute(pool, which, &value));
  out = value;
  return status;
}

}  // namespace

Status CudaDevice::find_pool(cudaMemPool_t& out) {
  const Status status = pool_ ? Status::success : as_status(cudaDeviceGetDefaultMemPool(&pool_, 0));
  out = pool_;
  return status;
}

// Asking for a pool's attributes breaks a capture that is under way, so the figure of before it stands.
std::size_t CudaDevice::pooled_bytes() const {
  if (!capturing_.empty()) return pooled_bytes_;
  std::size_t pool_bytes = 0, graph_bytes = 0;
  if (pool_) (void)attribute(pool_, cudaMemPoolAttrReservedMemCurrent, pool_bytes);
  if (has_captured_) {
    std::uint64_t value = 0;
    const cudaError_t error = cudaDeviceGetGraphMemAttribute(0, cudaGraphMemAttrReservedMemCurrent, &value);
    if (as_status(error) == Status::success) graph_bytes = value;
  }
  return pooled_bytes_ = pool_bytes + graph_bytes;
}

Status CudaDevice::do_malloc_async(void*& out, std::size_t bytes, Stream stream) {
  cudaStream_t queue{};
  cudaMemPool_t pool{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  if (const Status status = find_pool(pool); status != Status::success) return status;
  out = nullptr;
  cudaStreamCaptureStatus capture{};
  if (const Status status = as_status(cudaStreamIsCapturing(queue, &capture)); status != Status::success)
    return status;
  // A memory node takes nothing before its graph is launched.
  const bool is_capped = capped() && capture == cudaStreamCaptureStatusNone;
  PoolAttributes before;
  if (is_capped) {
    if (const Status status = do_pool_attributes(before); status != Status::success) return status;
    const std::size_t idle_bytes = before.reserved_bytes - before.used_bytes;
    if (bytes > room_bytes() + idle_bytes) return Status::memory_allocation;
  }
  const std::size_t room = is_capped ? room_bytes() : 0;
  const Status status = as_status(cudaMallocAsync(&out, bytes, queue));
  if (status != Status::success || bytes == 0) return status;
  PoolAttributes after;
  const bool grew_too_far = is_capped && do_pool_attributes(after) == Status::success &&
                            after.reserved_bytes > before.reserved_bytes + room;
  if (grew_too_far) {
    Status undone = as_status(cudaFreeAsync(out, queue));
    if (undone == Status::success) undone = as_status(cudaStreamSynchronize(queue));
    if (undone == Status::success) undone = do_pool_trim(before.reserved_bytes);
    return undone == Status::success ? Status::memory_allocation : undone;
  }
  async_blocks_[as_address(out)] = bytes;
  remember(out, bytes);
  if (!origin_) origin_ = as_address(out);
  return status;
}

Status CudaDevice::do_free_async(void* block, Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  const Status status = as_status(cudaFreeAsync(block, queue));
  if (status != Status::success) return status;
  async_blocks_.erase(as_address(block));
  footprint_.remove(block);
  return status;
}

Status CudaDevice::do_pool_trim(std::size_t keep_bytes) {
  cudaMemPool_t pool{};
  if (const Status status = find_pool(pool); status != Status::success) return status;
  return as_status(cudaMemPoolTrimTo(pool, keep_bytes));
}

Status CudaDevice::do_pool_set_release_threshold(std::size_t bytes) {
  cudaMemPool_t pool{};
  if (const Status status = find_pool(pool); status != Status::success) return status;
  std::uint64_t value = bytes;
  return as_status(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &value));
}

Status CudaDevice::do_pool_attributes(PoolAttributes& out) {
  cudaMemPool_t pool{};
  if (const Status status = find_pool(pool); status != Status::success) return status;
  const std::pair<cudaMemPoolAttr, std::size_t*> wanted[] = {
      {cudaMemPoolAttrReleaseThreshold, &out.release_threshold_bytes},
      {cudaMemPoolAttrReservedMemCurrent, &out.reserved_bytes},
      {cudaMemPoolAttrReservedMemHigh, &out.reserved_high_bytes},
      {cudaMemPoolAttrUsedMemCurrent, &out.used_bytes},
      {cudaMemPoolAttrUsedMemHigh, &out.used_high_bytes}};
  for (const auto& [which, value] : wanted)
    if (const Status status = attribute(pool, which, *value); status != Status::success) return status;
  return Status::success;
}

bool CudaDevice::would_oversubscribe(std::size_t bytes) const {
  std::size_t free_bytes = 0, total_bytes = 0;
  if (as_status(cudaMemGetInfo(&free_bytes, &total_bytes)) != Status::success) return false;
  if (capped()) free_bytes = std::min(free_bytes, room_bytes() + managed_bytes_);
  const std::size_t cost = footprint_.cost_alone(bytes);
  if (managed_bytes_ <= free_bytes && cost <= free_bytes - managed_bytes_) return false;
  std::fprintf(stderr,
               "cuda lane: %s refused: %s are free, %s of managed memory stand against them, and it is "
               "never oversubscribed here\n",
               format_bytes(bytes).c_str(), format_bytes(free_bytes).c_str(),
               format_bytes(managed_bytes_).c_str());
  return true;
}

Status CudaDevice::do_malloc_managed(void*& out, std::size_t bytes) {
  // Nothing is taken before it is touched, so all that was lent must fit what is free now.
  const std::size_t cost = footprint_.cost_alone(bytes);
  if (!fits(bytes)) return Status::memory_allocation;
  if (would_oversubscribe(bytes)) return Status::memory_allocation;
  const Status status = as_status(cudaMallocManaged(&out, bytes, cudaMemAttachGlobal));
  if (status != Status::success) return status;
  footprint_.add(out, bytes);
  managed_[as_address(out)] = cost;
  managed_bytes_ += cost;
  remember(out, bytes);
  if (!origin_) origin_ = as_address(out);
  return status;
}

Status CudaDevice::do_mem_prefetch(void* begin, std::size_t bytes, Residence to, Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  cudaMemLocation where{};
  where.type = to == Residence::device ? cudaMemLocationTypeDevice : cudaMemLocationTypeHost;
  return as_status(cudaMemPrefetchAsync(begin, bytes, where, 0, queue));
}

void CudaDevice::give_back_pool() {
  // A block of a memory node that never ran is unknown to the driver, which then says so.
  for (const auto& [block, bytes] : async_blocks_) (void)as_status(cudaFree(as_pointer(block)));
  async_blocks_.clear();
  closing(cudaDeviceGraphMemTrim(0), "cudaDeviceGraphMemTrim");
  if (!pool_) return;
  std::uint64_t none = 0;
  closing(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &none), "cudaMemPoolSetAttribute");
  closing(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  closing(cudaMemPoolTrimTo(pool_, 0), "cudaMemPoolTrimTo");
}

}  // namespace drought
