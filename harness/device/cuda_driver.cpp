#include "harness/device/cuda_driver.hpp"

#include <cstdio>

namespace drought {
namespace {

// Every call here is in CUDA since 10.2; the entry of this version is the one the headers declare.
constexpr unsigned kEntryVersion = 12000;

template <typename Function>
bool fetch(const char* symbol, Function*& out, std::string& why_not) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(symbol, &entry, kEntryVersion, cudaEnableDefault, &found);
  if (as_status(error) != Status::success || found != cudaDriverEntryPointSuccess || !entry) {
    why_not = "the NVIDIA driver has no " + std::string(symbol) + " (" + name(as_status(error)) + ")";
    return false;
  }
  out = reinterpret_cast<Function*>(entry);
  return true;
}

}  // namespace

bool CudaDriver::load(std::string& why_not) {
  return fetch("cuMemCreate", mem_create, why_not) && fetch("cuMemRelease", mem_release, why_not) &&
         fetch("cuMemAddressReserve", address_reserve, why_not) &&
         fetch("cuMemAddressFree", address_free, why_not) && fetch("cuMemMap", mem_map, why_not) &&
         fetch("cuMemUnmap", mem_unmap, why_not) && fetch("cuMemSetAccess", mem_set_access, why_not);
}

Status as_status(cudaError_t error) {
  if (error == cudaSuccess) return Status::success;
  (void)cudaGetLastError();
  return static_cast<Status>(error);
}

Status as_status(CUresult result) { return static_cast<Status>(result); }

void closing(Status status, const char* call) {
  if (status != Status::success && !is_sticky(status))
    std::fprintf(stderr, "cuda lane: %s answered %s while the device was closed\n", call,
                 name(status).c_str());
}

}  // namespace drought
