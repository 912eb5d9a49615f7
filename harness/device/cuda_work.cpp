// Fills, copies and launches of the cuda lane. The driver judges them; in shapes mode, in which it is not
// asked to fill or launch, the same rules are asked of what this device has lent.
#include "harness/device/cuda_device.hpp"
#include "harness/device/host_pinned.hpp"

namespace drought {

Status CudaDevice::is_on_device(const void* pointer, bool& out) const {
  cudaPointerAttributes attributes{};
  const Status status = as_status(cudaPointerGetAttributes(&attributes, pointer));
  if (status != Status::success) return status;
  // The host may map memory of its own where a block was; only what nobody can read is a freed block.
  const auto is_freed_block = [&] {
    return was_lent(pointer) && host_protection(as_address(pointer), 1) == Protection::none;
  };
  out = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged ||
        (attributes.type == cudaMemoryTypeUnregistered && is_freed_block());
  return status;
}

bool CudaDevice::is_live(const void* begin, std::size_t bytes) const {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  for (const auto* blocks : {&footprint_.blocks(), &async_blocks_})
    if (const auto after = blocks->upper_bound(address); after != blocks->begin()) {
      const auto& [start, size] = *std::prev(after);
      if (address - start < size) return bytes <= size - (address - start);
    }
  std::size_t covered = 0;
  for (auto after = mappings_.upper_bound(address); covered < bytes; ++after) {
    if (after == mappings_.begin()) return false;
    const auto& [start, mapping] = *std::prev(after);
    const std::size_t skipped = address + covered - start;
    if (skipped >= mapping.bytes) return false;
    covered += mapping.bytes - skipped;
    if (after == mappings_.end()) break;
  }
  return covered >= bytes;
}

Status CudaDevice::do_memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  if (work() == Work::shapes) return is_live(to, bytes) ? Status::success : Status::invalid_value;
  return as_status(cudaMemsetAsync(to, value, bytes, queue));
}

Status CudaDevice::do_memcpy(void* to, const void* from, std::size_t bytes, Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  // cudaMemcpyDefault would take a freed device pointer for pageable host memory and touch it here.
  bool to_device = false, from_device = false;
  if (const Status status = is_on_device(to, to_device); status != Status::success) return status;
  if (const Status status = is_on_device(from, from_device); status != Status::success) return status;
  const cudaMemcpyKind kind = to_device     ? from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                              : from_device ? cudaMemcpyDeviceToHost
                                            : cudaMemcpyHostToHost;
  return as_status(cudaMemcpyAsync(to, from, bytes, kind, queue));
}

Status CudaDevice::do_launch(const Launch& launch) {
  cudaStream_t queue{};
  if (!find(launch.stream, queue)) return Status::invalid_resource_handle;
  if (work() == Work::shapes) {
    const std::size_t threads = launch.block.volume();
    const bool runs = launch.grid.volume() > 0 && threads > 0 &&
                      threads <= static_cast<std::size_t>(profile().threads_max) &&
                      launch.shared_bytes <= profile().shared_bytes_max;
    if (!runs) return Status::invalid_value;
  }
  if (!launch.cuda) return Status::not_supported;
  if (work() == Work::shapes) return Status::success;
  const Status status = launch.cuda(launch, queue);
  if (status == Status::success)
    first_launch_bytes_ = profile().first_launch_bytes;
  else
    (void)cudaGetLastError();
  return status;
}

}  // namespace drought
