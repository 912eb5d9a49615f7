// The GPU's side of the example: what a user compiles with nvcc into the same library.
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/pluggable/drought_kernel.h"

namespace {

__global__ void add(const float* x, const float* y, float* out, std::uint64_t elements) {
  const std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < elements) out[i] = 2 * x[i] + y[i];
}

int launch(std::uint64_t elements, void* const* parts, void* stream) {
  const auto blocks = static_cast<unsigned>((elements + 127) / 128);
  if (blocks == 0) return 0;
  add<<<blocks, 128, 0, static_cast<cudaStream_t>(stream)>>>(static_cast<const float*>(parts[0]),
                                                             static_cast<const float*>(parts[1]),
                                                             static_cast<float*>(parts[2]), elements);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" {

int example_cuda(const DroughtSizes* sizes, void* const* parts, void* stream) {
  return launch(sizes->value[0], parts, stream);
}
int short_cuda(const DroughtSizes* sizes, void* const* parts, void* stream) {
  return launch(sizes->value[0] - 1, parts, stream);
}
int long_cuda(const DroughtSizes* sizes, void* const* parts, void* stream) {
  return launch(sizes->value[0] + 64, parts, stream);
}

}  // extern "C"
