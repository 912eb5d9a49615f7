// A site is a call at which a fault may strike, named after the real call. The table beside the
// names says which errors the real call documents, so that no fault answers what CUDA could not.
#pragma once

#include <span>
#include <string_view>

#include "harness/device/status.hpp"

namespace drought {

enum class Site : unsigned char {
  cudaMalloc,
  cudaFree,
  cudaMemGetInfo,
  cudaMallocHost,
  cudaFreeHost,
  cudaHostRegister,
  cudaHostUnregister,
  cuMemCreate,
  cuMemRelease,
  cuMemAddressReserve,
  cuMemAddressFree,
  cuMemMap,
  cuMemUnmap,
  cuMemSetAccess,
  cudaStreamCreate,
  cudaStreamDestroy,
  cudaStreamSynchronize,
  cudaStreamWaitEvent,
  cudaEventCreate,
  cudaEventDestroy,
  cudaEventRecord,
  cudaEventQuery,
  cudaEventSynchronize,
  cudaDeviceSynchronize,
  cudaMemset,
  cudaMemcpy,
  cudaPointerGetAttributes,
  cudaMallocAsync,
  cudaFreeAsync,
  cudaMemPoolTrimTo,
  cudaMemPoolSetAttribute,
  cudaMemPoolGetAttribute,
  cudaMallocManaged,
  cudaMemPrefetchAsync,
  cudaStreamBeginCapture,
  cudaStreamEndCapture,
  cudaStreamIsCapturing,
  cudaGraphInstantiate,
  cudaGraphLaunch,
  cudaGraphDestroy,
  cudaGraphExecDestroy,
  cudaDeviceGraphMemTrim,
  launch,
  allocate,
  deallocate,
  release,  ///< A resource lends, takes back; an owner lets go of a buffer.
};
inline constexpr int site_count = static_cast<int>(Site::release) + 1;

std::string_view name(Site site);

/// Throws std::invalid_argument that lists the known sites.
Site site_named(std::string_view name);

/// Errors the call documents, the likeliest first; empty for a call that cannot fail.
std::span<const Status> documented_errors(Site site);

/// '*' matches any run of characters, '?' one.
bool glob_matches(std::string_view glob, std::string_view text);

}  // namespace drought
