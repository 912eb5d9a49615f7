// Makes CUDA's bodies of a list of kernel functors. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include <cstring>

#include "harness/simt/cuda_context.hpp"
#include "harness/simt/launch.hpp"

namespace drought {

template <typename Functor>
__global__ void __launch_bounds__(Functor::threads_max)
    cuda_entry(const __grid_constant__ typename Functor::Arguments arguments) {
  CudaContext context;
  Functor::body(context, arguments);
}

/// The CudaBody of one functor. A launch that asks for more than the 48 KiB that every kernel may have is
/// allowed what it asks for first.
template <typename Functor>
Status cuda_body(const Launch& launch, void* stream) {
  using Arguments = typename Functor::Arguments;
  if (launch.arguments_bytes != sizeof(Arguments)) return Status::invalid_value;
  Arguments arguments;
  std::memcpy(&arguments, launch.arguments, sizeof arguments);
  if (launch.shared_bytes > 48 * 1024) {
    const cudaError_t allowed =
        cudaFuncSetAttribute(cuda_entry<Functor>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(launch.shared_bytes));
    if (allowed != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return static_cast<Status>(allowed);
    }
  }
  const dim3 grid(launch.grid.x, launch.grid.y, launch.grid.z);
  const dim3 block(launch.block.x, launch.block.y, launch.block.z);
  cuda_entry<Functor><<<grid, block, launch.shared_bytes, static_cast<cudaStream_t>(stream)>>>(arguments);
  return static_cast<Status>(cudaGetLastError());
}

template <typename... Functors>
CudaBody cuda_body_at(Variants<Functors...>, std::size_t place) {
  constexpr CudaBody bodies[] = {&cuda_body<Functors>...};
  return bodies[place];
}

template <typename List>
CudaBody CudaBodies<List>::at(std::size_t place) {
  return cuda_body_at(List{}, place);
}

}  // namespace drought
