// The launch of Hopper's prefill attention: tensor maps from the arguments, and the variant for the shape.
#include "kernels/sm90/prefill_attention.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "kernels/sm90/bodies.hpp"

namespace drought::sm90 {
namespace {

// A grid's blocks work on the K and V of this many bytes at a time: FlashAttention's budget for the 50 MB of
// L2 that an H100 and an H200 have.
constexpr std::size_t kL2Bytes = 32 << 20;

using EncodeTiled = decltype(&::cuTensorMapEncodeTiled);

EncodeTiled encode_tiled() {
  static const EncodeTiled found = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result);
    return error == cudaSuccess ? reinterpret_cast<EncodeTiled>(entry) : nullptr;
  }();
  return found;
}

struct Tensor {
  const void* data;
  int heads, tokens;
};

/// Boxes of 64 columns of one head, `box_tokens` rows.
bool describe(CUtensorMap& map, const Tensor& tensor, const PrefillArguments& given, int box_tokens) {
  const auto row = static_cast<cuuint64_t>(given.head_dim) * sizeof(bf16);
  const auto heads = static_cast<cuuint64_t>(tensor.heads), tokens = static_cast<cuuint64_t>(tensor.tokens);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(given.head_dim), heads, tokens,
                              static_cast<cuuint64_t>(given.batch)};
  const cuuint64_t strides[] = {row, row * heads, row * heads * tokens};
  const cuuint32_t box[] = {64, 1, static_cast<cuuint32_t>(box_tokens), 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  return encode_tiled()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(tensor.data), sizes,
                        strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                        CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

int sm_count() {
  static const int count = [] {
    int device = 0, found = 1;
    static_cast<void>(cudaGetDevice(&device));
    static_cast<void>(cudaDeviceGetAttribute(&found, cudaDevAttrMultiProcessorCount, device));
    return found;
  }();
  return count;
}

template <typename Tiling>
Status run(const PrefillArguments& given, cudaStream_t stream) {
  const auto& of = given.of;
  PrefillGrid grid{.queries = of.queries,
                   .keys = of.keys,
                   .heads = of.heads,
                   .heads_to_kv_head = of.heads / of.kv_heads,
                   .row_blocks = (of.queries + Tiling::rows - 1) / Tiling::rows,
                   .heads_in_all = of.heads * given.batch,
                   .scale_log2 = of.scale_log2,
                   .next_tile = given.next_tile};
  grid.tiles = grid.row_blocks * grid.heads_in_all;
  const std::size_t kv_bytes = static_cast<std::size_t>(of.keys) * Tiling::head_dim * 2 * sizeof(bf16);
  const std::size_t kv_heads = std::max<std::size_t>(1, kL2Bytes / kv_bytes);
  grid.heads_at_once = static_cast<int>(std::min(kv_heads * static_cast<std::size_t>(grid.heads_to_kv_head),
                                                 static_cast<std::size_t>(grid.heads_in_all)));
  PrefillMaps maps;
  if (!encode_tiled() || !describe(maps.q, {of.q, of.heads, of.queries}, given, Tiling::rows) ||
      !describe(maps.k, {of.k, of.kv_heads, of.keys}, given, Tiling::keys) ||
      !describe(maps.v, {of.v, of.kv_heads, of.keys}, given, Tiling::keys) ||
      !describe(maps.out, {of.out, of.heads, of.queries}, given, 64))
    return Status::invalid_value;
  static const cudaError_t allowed = cudaFuncSetAttribute(
      prefill_attention<Tiling>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tiling::shared_bytes);
  if (allowed != cudaSuccess) return static_cast<Status>(allowed);
  prefill_attention<Tiling>
      <<<std::min(sm_count(), grid.tiles), Tiling::threads, Tiling::shared_bytes, stream>>>(maps, grid);
  return static_cast<Status>(cudaGetLastError());
}

}  // namespace

// Short sequences leave a block little to do on a tile, so its next queries are brought meanwhile; long ones
// are better off with wider tiles of keys.
Status prefill_body(const Launch& launch, void* stream) {
  if (launch.arguments_bytes != sizeof(PrefillArguments)) return Status::invalid_value;
  PrefillArguments given;
  std::memcpy(&given, launch.arguments, sizeof given);
  const auto queue = static_cast<cudaStream_t>(stream);
  if (given.head_dim == 64)
    return given.of.causal ? run<PrefillTiling<64, 192, 128, 2, true>>(given, queue)
                           : run<PrefillTiling<64, 192, 128, 2, false>>(given, queue);
  if (given.of.causal) return run<PrefillTiling<128, 128, 128, 2, true>>(given, queue);
  return given.of.keys < 1024 ? run<PrefillTiling<128, 128, 128, 2, false>>(given, queue)
                              : run<PrefillTiling<128, 128, 176, 1, false>>(given, queue);
}

}  // namespace drought::sm90
