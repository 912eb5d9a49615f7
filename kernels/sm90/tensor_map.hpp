// Tensor maps: what the tensor memory accelerator is told of a tensor. Host side, for nvcc alone.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace drought::sm90 {

/// A tensor of 16-bit numbers, the innermost dimension first, and the boxes of it that are moved. Strides are
/// of the three outer dimensions, in bytes, multiples of sixteen.
struct TensorShape {
  std::uint64_t sizes[4], strides[3];
  std::uint32_t box[4];  ///< The innermost is 64: rows of swizzle_bytes.
};

/// `promotion`: up to how many bytes around what it needs a copy brings into the L2 cache. Whether the driver
/// took it; no memory is read. `data` is aligned to sixteen bytes.
inline bool encode(CUtensorMap& map, std::uintptr_t data, const TensorShape& shape,
                   CUtensorMapL2promotion promotion) {
  static const auto encode_tiled = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result);
    return error == cudaSuccess ? reinterpret_cast<decltype(&::cuTensorMapEncodeTiled)>(entry) : nullptr;
  }();
  constexpr std::uint32_t steps[] = {1, 1, 1, 1};
  return encode_tiled && encode_tiled(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4,
                                      reinterpret_cast<void*>(data), shape.sizes, shape.strides, shape.box,
                                      steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                      promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace drought::sm90
