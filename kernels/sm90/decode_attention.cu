// Hopper's decode attention as a kernel, and its launch: the variant for the types and the number of query
// heads.
#include "kernels/sm90/decode_attention.hpp"

#include <cstring>

#include "kernels/sm90/decode_merged_results.hpp"
#include "kernels/sm90/decode_warp_results.hpp"
#include "kernels/sm90/tensor_map.hpp"

namespace drought::sm90 {
namespace {

/// Of a warp: after up to so many the next launch may begin while pieces are still combined, a seventh of a
/// lone sequence's time. Its blocks then take what place they find, and read a hundredth slower than in their
/// order, which of more tiles would cost more. As measured on an H200.
constexpr int early_tiles_max = 64;

template <typename Tiling>
__global__ void __launch_bounds__(Tiling::threads, decode_blocks_per_sm)
    decode_attention(const __grid_constant__ drought::DecodeArguments given,
                     const __grid_constant__ typename Tiling::Feed::Maps maps) {
  extern __shared__ __align__(1024) unsigned char shared[];
  CudaContext context;
  using Feed = typename Tiling::Feed;
  const int groups = given.kv_heads / given.heads_at_once, group = given.heads / given.kv_heads;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first_row = static_cast<int>(blockIdx.z) * Tiling::columns;
  const DecodeShare share =
      Tiling::shares_rows ? DecodeShare{warp} : DecodeShare::of(warp, Tiling::warps, given.heads_at_once);
  Feed::init(maps, shared_address(shared));
  typename Feed::Turn turn;
  Feed::foresee(given, maps, share);
  wait_for_kernel_before();
  int tiles = 0;
  for_each_piece(context, given, [&](const DecodePiece& piece) {
    const DecodeWork work{piece, (piece.unit - piece.batch * groups) * given.heads_at_once, first_row,
                          min(Tiling::columns, group - first_row), group};
    const DecodeWalk walk(work, share, Tiling::tokens_log2);
    Feed feed(given, maps, work, walk, shared_address(shared), turn);
    DecodeWarp<Tiling> own(given, work, walk);
    own.run(feed);
    tiles += walk.count;
    if (piece.is_last && tiles <= early_tiles_max) let_next_begin();
    if constexpr (Tiling::shares_rows) {
      WarpResults<Tiling>(given, work, warp).take(own);
    } else {
      __syncwarp();  // The warp's ring is used up, and what follows lies over it.
      const MergedResults<Tiling> results(given, work, shared);
      results.take(own);
      __syncthreads();
      results.end();
      publish_to_copies();
      __syncthreads();  // Before the next piece's copies.
    }
  });
}

template <typename Tiling>
bool describe(DecodeNoMaps&, const DecodeArguments&) {
  return true;
}
/// Boxes of one head's rows of sixteen tokens, in chunks of 64 elements. What is read once gains nothing from
/// more of what is around it in the L2 cache, and is read slower with it.
template <typename Tiling>
bool describe(DecodeMaps& maps, const DecodeArguments& given) {
  constexpr std::uint64_t chunks = Tiling::head_dim / 64, row = Tiling::Rows::row_bytes;
  const auto kv_heads = static_cast<std::uint64_t>(given.of.kv_heads);
  const auto tokens = static_cast<std::uint64_t>(given.pool_tokens);
  const TensorShape shape{
      {64, tokens, chunks, kv_heads}, {row * kv_heads, swizzle_bytes, row}, {64, decode_tokens, chunks, 1}};
  const auto encode_pool = [&](CUtensorMap& map, const void* pool) {
    return encode(map, reinterpret_cast<std::uintptr_t>(pool), shape, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
  };
  return encode_pool(maps.k, given.of.k) && encode_pool(maps.v, given.of.v);
}

template <typename Tiling>
Status run(const DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  static const cudaError_t allowed = cudaFuncSetAttribute(
      decode_attention<Tiling>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tiling::shared_bytes);
  if (allowed != cudaSuccess) return static_cast<Status>(allowed);
  typename Tiling::Feed::Maps maps;
  if (!describe<Tiling>(maps, given)) return Status::invalid_value;
  const int group = given.of.heads / given.of.kv_heads;
  const dim3 grid(launch.grid.x, 1, static_cast<unsigned>((group + Tiling::columns - 1) / Tiling::columns));
  cudaLaunchAttribute begins_early{};  // While the kernel before ends; it waits for that itself.
  begins_early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  begins_early.val.programmaticStreamSerializationAllowed = 1;
  const cudaLaunchConfig_t config{.gridDim = grid,
                                  .blockDim = dim3(Tiling::threads),
                                  .dynamicSmemBytes = Tiling::shared_bytes,
                                  .stream = stream,
                                  .attrs = &begins_early,
                                  .numAttrs = 1};
  return static_cast<Status>(cudaLaunchKernelEx(&config, decode_attention<Tiling>, given.of, maps));
}

/// Rows are brought together where every warp has a head and those of a token fill whole sixteen bytes, and
/// in boxes where pages hold whole tiles.
template <typename T, typename Rows, int head_dim, int column_tiles>
Status run_feed(const DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  constexpr std::size_t row_bytes = Rows::type.row_bytes(head_dim), warps = decode_warps(row_bytes);
  if constexpr (!Rows::type.is_plain && column_tiles == 1 && warps * row_bytes % 16 == 0)
    if (given.of.heads_at_once == warps)
      return run<DecodeTiling<T, Rows, head_dim, column_tiles, Feeding::shared>>(given, launch, stream);
  if constexpr (Rows::type.is_plain && head_dim % 64 == 0)
    if (given.of.page_size % decode_tokens == 0 && given.pool_tokens > 0)
      return run<DecodeTiling<T, Rows, head_dim, column_tiles, Feeding::boxes>>(given, launch, stream);
  return run<DecodeTiling<T, Rows, head_dim, column_tiles, Feeding::copies>>(given, launch, stream);
}

/// More than eight query heads take two columns of products, and beyond sixteen several blocks.
template <typename T, typename Rows, int head_dim>
Status run_columns(const DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  return given.of.heads / given.of.kv_heads <= decode_columns
             ? run_feed<T, Rows, head_dim, 1>(given, launch, stream)
             : run_feed<T, Rows, head_dim, 2>(given, launch, stream);
}

/// Runs the first variant that is the wanted one.
template <typename T, typename Rows, int head_dim>
bool run_if(Status& status, const DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  constexpr std::uint64_t variant = decode_variant(NumberTraits<T>::name, Rows::type.name, head_dim);
  static_assert(variant != 0);
  if (given.variant != variant) return false;
  status = run_columns<T, Rows, head_dim>(given, launch, stream);
  return true;
}

}  // namespace

Status decode_body(const Launch& launch, void* stream) {
  if (launch.arguments_bytes != sizeof(DecodeArguments)) return Status::invalid_value;
  DecodeArguments given;
  std::memcpy(&given, launch.arguments, sizeof given);
  const auto queue = static_cast<cudaStream_t>(stream);
  Status status = Status::invalid_value;
  const bool ran = run_if<bf16, PlainRows<bf16>, 64>(status, given, launch, queue) ||
                   run_if<bf16, PlainRows<bf16>, 80>(status, given, launch, queue) ||
                   run_if<bf16, PlainRows<bf16>, 96>(status, given, launch, queue) ||
                   run_if<bf16, PlainRows<bf16>, 128>(status, given, launch, queue) ||
                   run_if<fp16, PlainRows<fp16>, 64>(status, given, launch, queue) ||
                   run_if<fp16, PlainRows<fp16>, 128>(status, given, launch, queue) ||
                   run_if<bf16, Fp8Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Fp8Rows, 128>(status, given, launch, queue) ||
                   run_if<bf16, Int8Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Int8Rows, 128>(status, given, launch, queue) ||
                   run_if<bf16, Q8_0Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Q8_0Rows, 128>(status, given, launch, queue) ||
                   run_if<bf16, Q4_0Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Q4_0Rows, 128>(status, given, launch, queue);
  return ran ? status : Status::invalid_value;
}

}  // namespace drought::sm90
