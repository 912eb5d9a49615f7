// The launch of Hopper's prefill attention: tensor maps from the arguments, and the variant for the shape.
#include "kernels/sm90/prefill_attention.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "kernels/sm90/bodies.hpp"
#include "kernels/sm90/tensor_map.hpp"

namespace drought::sm90 {
namespace {

// A grid's blocks work on the K and V of this many bytes at a time: FlashAttention's budget for the 50 MB of
// L2 that an H100 and an H200 have.
constexpr std::size_t kL2Bytes = 32 << 20;

struct Tensor {
  const void* data;
  int columns, heads, tokens, longest;
};

/// Boxes of 64 columns of one head, `box_tokens` rows; see corner_of(). To bring 256 B into the L2 cache
/// where a line is wanted would cost windows of 72 columns a tenth, and gains nothing elsewhere on an H200.
bool describe(CUtensorMap& map, const Tensor& tensor, int box_tokens) {
  const auto heads = static_cast<std::uint64_t>(tensor.heads),
             longest = static_cast<std::uint64_t>(tensor.longest);
  const std::uint64_t head = static_cast<std::uint64_t>(tensor.columns) * sizeof(bf16), row = head * heads;
  // Nothing is read before the tensor: the two coordinates of a row add up to one of its rows.
  const std::uintptr_t base = reinterpret_cast<std::uintptr_t>(tensor.data) - longest * row;
  return encode(map, base,
                {{static_cast<std::uint64_t>(tensor.columns), heads, longest,
                  static_cast<std::uint64_t>(tensor.tokens) + 1},
                 {head, row, row},
                 {64, 1, static_cast<std::uint32_t>(box_tokens), 1}},
                CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
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
PrefillGrid grid_of(const PrefillArguments& given) {
  const auto& of = given.of;
  const bool squeezes = of.softcap_log2 != 0;
  PrefillGrid grid{.cu_seqlens_q = of.cu_seqlens_q,
                   .cu_seqlens_k = of.cu_seqlens_k,
                   .queries = of.queries,
                   .keys = of.keys,
                   .heads = of.heads,
                   .heads_to_kv_head = of.heads / of.kv_heads,
                   .row_blocks = (of.queries + Tiling::rows - 1) / Tiling::rows,
                   .heads_in_all = of.heads * of.sequences,
                   .left = of.left,
                   .right = of.right,
                   .scale_log2 = squeezes ? 1.0f : of.scale_log2,
                   .score_scale_log2 = of.scale_log2,
                   .softcap_log2 = of.softcap_log2,
                   .sinks = of.sinks};
  grid.tiles = grid.row_blocks * grid.heads_in_all;
  const bool alike = Tiling::sight == Sight::all && (!of.cu_seqlens_q || Tiling::is_short);
  grid.next_tile = alike ? nullptr : given.next_tile;
  const std::size_t kv_bytes =
      static_cast<std::size_t>(of.keys) * (given.head_dim + given.value_dim) * sizeof(bf16);
  const std::size_t kv_heads = std::max<std::size_t>(1, kL2Bytes / std::max<std::size_t>(1, kv_bytes));
  grid.heads_at_once = static_cast<int>(std::min(kv_heads * static_cast<std::size_t>(grid.heads_to_kv_head),
                                                 static_cast<std::size_t>(grid.heads_in_all)));
  return grid;
}

template <typename Tiling>
Status run(const PrefillArguments& given, cudaStream_t stream) {
  const auto& of = given.of;
  const PrefillGrid grid = grid_of<Tiling>(given);
  const Tensor q{of.q, given.head_dim, of.heads, given.total_queries, of.queries};
  const Tensor k{of.k, given.head_dim, of.kv_heads, given.total_keys, of.keys};
  const Tensor v{of.v, given.value_dim, of.kv_heads, given.total_keys, of.keys};
  const Tensor out{of.out, given.value_dim, of.heads, given.total_queries, of.queries};
  PrefillMaps maps;
  if (!describe(maps.q, q, Tiling::rows) || !describe(maps.k, k, Tiling::keys) ||
      !describe(maps.v, v, Tiling::keys) || !describe(maps.out, out, 64))
    return Status::invalid_value;
  static const cudaError_t allowed = cudaFuncSetAttribute(
      prefill_attention<Tiling>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tiling::shared_bytes);
  if (allowed != cudaSuccess) return static_cast<Status>(allowed);
  const int blocks = std::min(Tiling::blocks_per_sm * sm_count(), grid.tiles);
  prefill_attention<Tiling><<<blocks, Tiling::threads, Tiling::shared_bytes, stream>>>(maps, grid);
  return static_cast<Status>(cudaGetLastError());
}

/// The variants of one way to cut. `query_stages` of 2: the next tile's queries are brought meanwhile.
template <int head_dim, int value_dim, int rows, int keys, int query_stages>
Status run_for(Sight sight, const PrefillArguments& given, cudaStream_t stream) {
  if (sight == Sight::all)
    return run<PrefillTiling<head_dim, value_dim, rows, keys, query_stages, Sight::all>>(given, stream);
  if (sight == Sight::causal)
    return run<PrefillTiling<head_dim, value_dim, rows, keys, query_stages, Sight::causal>>(given, stream);
  return run<PrefillTiling<head_dim, value_dim, rows, keys, query_stages, Sight::window>>(given, stream);
}

Sight sight_of(const drought::PrefillArguments<bf16>& of) {
  const bool all_before = of.left >= of.keys - 1, squeezes = of.softcap_log2 != 0;
  if (!squeezes && all_before && of.right >= std::max(of.queries, of.keys) - 1) return Sight::all;
  return !squeezes && all_before && of.right == 0 ? Sight::causal : Sight::window;
}

/// Sequences of one tile.
template <int head_dim>
Status run_short(const PrefillArguments& given, cudaStream_t stream) {
  return run<PrefillTiling<head_dim, head_dim, 64, 64, 2, Sight::all>>(given, stream);
}

}  // namespace

// Tiles as large as registers and shared memory allow, but where sequences are short: there the next tile's
// queries had better arrive meanwhile, and less of a tile lie past the diagonal. Which is best where was
// measured on an H200.
Status prefill_body(const Launch& launch, void* stream) {
  if (launch.arguments_bytes != sizeof(PrefillArguments)) return Status::invalid_value;
  PrefillArguments given;
  std::memcpy(&given, launch.arguments, sizeof given);
  const auto queue = static_cast<cudaStream_t>(stream);
  const Sight sight = sight_of(given.of);
  const bool one_tile = sight == Sight::all && given.of.queries <= 64 && given.of.keys <= 64;
  const bool few_keys = given.of.keys <= 1024;
  switch (given.head_dim) {
    case 64:
      if (one_tile) return run_short<64>(given, queue);
      if (few_keys && sight == Sight::causal)
        return run<PrefillTiling<64, 64, 128, 128, 2, Sight::causal>>(given, queue);
      return run_for<64, 64, 192, 128, 2>(sight, given, queue);
    case 72:
      return one_tile ? run_short<72>(given, queue) : run_for<72, 72, 192, 128, 2>(sight, given, queue);
    case 80:
      return one_tile ? run_short<80>(given, queue) : run_for<80, 80, 192, 112, 2>(sight, given, queue);
    case 96:
      return few_keys ? run_for<96, 96, 128, 128, 2>(sight, given, queue)
                      : run_for<96, 96, 192, 96, 2>(sight, given, queue);
    case 128:
      return one_tile ? run_short<128>(given, queue) : run_for<128, 128, 128, 128, 2>(sight, given, queue);
    case 192:
      return few_keys ? run_for<192, 128, 128, 96, 2>(sight, given, queue)
                      : run_for<192, 128, 128, 128, 1>(sight, given, queue);
    case 256:
      return few_keys ? run_for<256, 256, 128, 64, 1>(sight, given, queue)
                      : run_for<256, 256, 128, 80, 1>(sight, given, queue);
    default:
      return Status::invalid_value;
  }
}

}  // namespace drought::sm90
