#include "harness/device/site.hpp"

#include <array>
#include <stdexcept>
#include <string>

namespace drought {
namespace {

using enum Status;

struct SiteFacts {
  std::string_view name;
  std::array<Status, 3> errors;  ///< success marks an unused place.
};

// CUDA 13.0 runtime and driver API reference, less the codes that only name an earlier asynchronous
// failure. cudaGraphInstantiate and cudaGraphLaunch take memory (2 MiB for an instance, and what memory
// nodes map), and answer so when there is none, which the reference leaves out. A resource's `allocate` fails
// in one way only, by throwing OutOfMemory; freeing never fails.
constexpr std::array<SiteFacts, site_count> kSites{{
    {"cudaMalloc", {memory_allocation, invalid_value, success}},
    {"cudaFree", {invalid_value, success, success}},
    {"cudaMemGetInfo", {invalid_value, unknown, success}},
    {"cudaMallocHost", {memory_allocation, invalid_value, success}},
    {"cudaFreeHost", {invalid_value, success, success}},
    {"cudaHostRegister", {memory_allocation, host_memory_already_registered, not_supported}},
    {"cudaHostUnregister", {host_memory_not_registered, invalid_value, success}},
    {"cuMemCreate", {memory_allocation, invalid_value, not_supported}},
    {"cuMemRelease", {invalid_value, success, success}},
    {"cuMemAddressReserve", {memory_allocation, invalid_value, not_supported}},
    {"cuMemAddressFree", {invalid_value, success, success}},
    {"cuMemMap", {memory_allocation, invalid_value, not_supported}},
    {"cuMemUnmap", {invalid_value, success, success}},
    {"cuMemSetAccess", {invalid_value, not_supported, success}},
    {"cudaStreamCreate", {memory_allocation, invalid_value, success}},
    {"cudaStreamDestroy", {invalid_resource_handle, success, success}},
    {"cudaStreamSynchronize", {invalid_resource_handle, launch_failure, success}},
    {"cudaStreamWaitEvent", {invalid_resource_handle, invalid_value, success}},
    {"cudaEventCreate", {memory_allocation, invalid_value, success}},
    {"cudaEventDestroy", {invalid_resource_handle, success, success}},
    {"cudaEventRecord", {invalid_resource_handle, launch_failure, success}},
    {"cudaEventQuery", {not_ready, invalid_resource_handle, success}},
    {"cudaEventSynchronize", {invalid_resource_handle, launch_failure, success}},
    {"cudaDeviceSynchronize", {launch_failure, unknown, success}},
    {"cudaMemset", {invalid_value, success, success}},
    {"cudaMemcpy", {invalid_value, success, success}},
    {"cudaPointerGetAttributes", {invalid_value, success, success}},
    {"cudaMallocAsync", {memory_allocation, invalid_value, not_supported}},
    {"cudaFreeAsync", {invalid_value, not_supported, success}},
    {"cudaMemPoolTrimTo", {invalid_value, success, success}},
    {"cudaMemPoolSetAttribute", {invalid_value, success, success}},
    {"cudaMemPoolGetAttribute", {invalid_value, success, success}},
    {"cudaMallocManaged", {memory_allocation, not_supported, invalid_value}},
    {"cudaMemPrefetchAsync", {invalid_value, success, success}},
    {"cudaStreamBeginCapture", {invalid_value, success, success}},
    {"cudaStreamEndCapture", {invalid_value, stream_capture_invalidated, success}},
    {"cudaStreamIsCapturing", {invalid_value, stream_capture_implicit, success}},
    {"cudaGraphInstantiate", {memory_allocation, invalid_value, success}},
    {"cudaGraphLaunch", {invalid_value, memory_allocation, success}},
    {"cudaGraphDestroy", {invalid_value, success, success}},
    {"cudaGraphExecDestroy", {invalid_value, success, success}},
    {"cudaDeviceGraphMemTrim", {invalid_value, success, success}},
    {"launch", {launch_out_of_resources, invalid_value, launch_failure}},
    {"allocate", {memory_allocation, success, success}},
    {"deallocate", {success, success, success}},
    {"release", {success, success, success}},
}};

}  // namespace

std::string_view name(Site site) { return kSites[static_cast<std::size_t>(site)].name; }

Site site_named(std::string_view text) {
  std::string known;
  for (std::size_t i = 0; i < kSites.size(); ++i) {
    if (kSites[i].name == text) return static_cast<Site>(i);
    known += (i ? ", " : "") + std::string(kSites[i].name);
  }
  throw std::invalid_argument("unknown site '" + std::string(text) + "'; known: " + known);
}

std::span<const Status> documented_errors(Site site) {
  const auto& errors = kSites[static_cast<std::size_t>(site)].errors;
  std::size_t count = 0;
  while (count < errors.size() && errors[count] != success) ++count;
  return std::span(errors).first(count);
}

bool glob_matches(std::string_view glob, std::string_view text) {
  std::size_t at = 0, star = std::string_view::npos, resume = 0, i = 0;
  while (at < text.size()) {
    if (i < glob.size() && (glob[i] == '?' || glob[i] == text[at])) {
      ++i, ++at;
    } else if (i < glob.size() && glob[i] == '*') {
      star = i++;
      resume = at;
    } else if (star != std::string_view::npos) {
      i = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  while (i < glob.size() && glob[i] == '*') ++i;
  return i == glob.size();
}

}  // namespace drought
