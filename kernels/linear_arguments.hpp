// A matrix product as a library is asked for it, and the two bodies that ask: OpenBLAS's on the host,
// cuBLAS's on a GPU. Neither library is linked; each is opened when it is first needed.
#pragma once

#include <cstddef>

#include "harness/device/launch.hpp"

namespace drought {

/// out[rows][columns] = x[rows][depth] * weight[columns][depth]^T, accumulated in fp32.
struct LinearArguments {
  const void *x, *weight;
  void* out;
  void* workspace;  ///< The library's, for what it would else allocate itself.
  std::size_t workspace_bytes;
  int rows, columns, depth;
  bool narrow;      ///< x and weight are bf16, else fp32.
  bool narrow_out;  ///< So is out.
};

/// Throw MissingLibrary.
void open_openblas();
void open_cublas();

/// Checks that what it touches lies in the declared operands, as simulated threads do.
Status linear_on_host(const Launch& launch);

#if defined(DROUGHT_HAS_CUDA)
Status linear_on_cuda(const Launch& launch, void* stream);
#else
inline constexpr CudaBody linear_on_cuda = nullptr;
#endif

}  // namespace drought
