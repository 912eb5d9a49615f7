// Virtual memory management of the cuda lane. Handles are the driver's own, so that a wrong one is
// answered by the driver; beside them stands what each costs, for the cap, and what is mapped, so that
// the device can be closed.
#include <algorithm>

#include "harness/device/cuda_device.hpp"

namespace drought {
namespace {

CUmemLocation here() { return {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}; }

CUdeviceptr as_device(const void* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

}  // namespace

Status CudaDevice::do_mem_create(MemoryHandle& out, std::size_t bytes) {
  if (!profile().has_vmm) return Status::not_supported;
  // A size the driver would call invalid is left to it; only whole granules are refused by the cap.
  if (bytes % profile().granularity_bytes == 0 && !fits(bytes)) return Status::memory_allocation;
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = here();
  CUmemGenericAllocationHandle handle{};
  const Status status = as_status(driver_.mem_create(&handle, bytes, &properties, 0));
  if (status != Status::success) return status;
  handles_[handle] = std::make_shared<Physical>(created_bytes_, bytes);
  out = MemoryHandle{handle};
  return status;
}

Status CudaDevice::do_mem_release(MemoryHandle handle) {
  if (!profile().has_vmm) return Status::not_supported;
  const Status status = as_status(driver_.mem_release(handle.id));
  if (status == Status::success) handles_.erase(handle.id);
  return status;
}

Status CudaDevice::do_address_reserve(void*& out, std::size_t bytes) {
  if (!profile().has_vmm) return Status::not_supported;
  CUdeviceptr begin{};
  const Status status = as_status(driver_.address_reserve(&begin, bytes, 0, 0, 0));
  if (status != Status::success) return status;
  out = reinterpret_cast<void*>(begin);
  reservations_[begin] = {bytes, ++reservations_made_};
  remember(out, bytes);
  return status;
}

Status CudaDevice::do_address_free(void* begin, std::size_t bytes) {
  if (!profile().has_vmm) return Status::not_supported;
  const Status status = as_status(driver_.address_free(as_device(begin), bytes));
  if (status == Status::success) reservations_.erase(as_device(begin));
  return status;
}

Status CudaDevice::do_mem_map(void* begin, std::size_t bytes, std::size_t offset, MemoryHandle handle) {
  if (!profile().has_vmm) return Status::not_supported;
  const Status status = as_status(driver_.mem_map(as_device(begin), bytes, offset, handle.id, 0));
  if (status != Status::success) return status;
  const auto physical = handles_.find(handle.id);
  mappings_[as_device(begin)] = {bytes, physical == handles_.end() ? nullptr : physical->second};
  return status;
}

Status CudaDevice::do_mem_unmap(void* begin, std::size_t bytes) {
  if (!profile().has_vmm) return Status::not_supported;
  const Status status = as_status(driver_.mem_unmap(as_device(begin), bytes));
  if (status != Status::success) return status;
  const auto first = mappings_.lower_bound(as_device(begin));
  const auto last = std::find_if(
      first, mappings_.end(), [&](const auto& mapping) { return mapping.first - as_device(begin) >= bytes; });
  mappings_.erase(first, last);
  return status;
}

Status CudaDevice::do_mem_set_access(void* begin, std::size_t bytes, Protection protection) {
  if (!profile().has_vmm) return Status::not_supported;
  CUmemAccessDesc access{};
  access.location = here();
  access.flags = protection == Protection::read_write ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                 : protection == Protection::read     ? CU_MEM_ACCESS_FLAGS_PROT_READ
                                                      : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  return as_status(driver_.mem_set_access(as_device(begin), bytes, &access, 1));
}

void CudaDevice::give_back_address_space() {
  for (const auto& [begin, mapping] : mappings_)
    closing(driver_.mem_unmap(begin, mapping.bytes), "cuMemUnmap");
  for (const auto& [handle, physical] : handles_) closing(driver_.mem_release(handle), "cuMemRelease");
  for (const auto& [begin, reservation] : reservations_)
    closing(driver_.address_free(begin, reservation.bytes), "cuMemAddressFree");
  mappings_.clear();
}

}  // namespace drought
