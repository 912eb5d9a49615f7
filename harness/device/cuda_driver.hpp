// The driver's calls that the runtime has no equal for, fetched at run time: a program that was linked
// against libcuda would not start on a machine without a driver, and the host lane must.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include "harness/device/status.hpp"

namespace drought {

/// All null until load() succeeded.
struct CudaDriver {
  decltype(&::cuMemCreate) mem_create = nullptr;
  decltype(&::cuMemRelease) mem_release = nullptr;
  decltype(&::cuMemAddressReserve) address_reserve = nullptr;
  decltype(&::cuMemAddressFree) address_free = nullptr;
  decltype(&::cuMemMap) mem_map = nullptr;
  decltype(&::cuMemUnmap) mem_unmap = nullptr;
  decltype(&::cuMemSetAccess) mem_set_access = nullptr;

  /// false, and the reason, when the driver lacks one of them.
  bool load(std::string& why_not);
};

/// The runtime's answer as a status. A failure also stays in the runtime's own last-error slot, where a
/// later kernel launch's check would find it; it is taken from there, because Device keeps the slot.
Status as_status(cudaError_t error);
Status as_status(CUresult result);

/// Of a call by which the device is closed: what a dead context refuses is expected, anything else is said
/// aloud.
void closing(Status status, const char* call);
template <typename Answer>
void closing(Answer answer, const char* call) {
  closing(as_status(answer), call);
}

inline std::uintptr_t as_address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
inline void* as_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

}  // namespace drought
