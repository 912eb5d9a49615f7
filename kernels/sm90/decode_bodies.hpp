// Hopper's body of decode attention, for the launches that the portable kernel hands over: which shapes there
// are and their geometry. Plain C++; the rest is nvcc's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "harness/simt/launch.hpp"
#include "kernels/decode_pieces.hpp"

namespace drought::sm90 {

struct DecodeArguments {
  drought::DecodeArguments of;
  std::uint64_t variant;  ///< decode_variant()'s.
  int pool_tokens;        ///< In all pages.
};

/// Threads and dynamic shared memory of the largest variant.
inline constexpr unsigned decode_threads_max = 8 * 32;
inline constexpr std::size_t decode_shared_bytes_max = 227 * 1024;
/// Warps of a block, of which each has its own KV head or keys of a shared one. More of them where rows are
/// short, so that a block may take all heads of a token and leave no memory sector to another.
constexpr unsigned decode_warps(std::size_t row_bytes) { return row_bytes > 144 ? 4 : 8; }
/// Of a block, so that two are on a multiprocessor at a time: one ends a piece while another reads.
inline constexpr int decode_shared_bytes = 113 * 1024 - 256;
/// What a warp numbers a pool's tokens by is an int.
inline constexpr std::size_t decode_pool_tokens_max = 0x7fffffff;
/// Query heads that are columns of one product.
inline constexpr int decode_columns = 8;

/// A name for the variant that takes queries of `type` over a cache of `cache`; 0 when there is none.
constexpr std::uint64_t decode_variant(std::string_view type, std::string_view cache, std::size_t head_dim) {
  if (type == "fp16") return cache == "fp16" && (head_dim == 64 || head_dim == 128) ? head_dim * 16 + 1 : 0;
  if (type != "bf16") return 0;
  const bool is_plain = cache == "bf16";
  if (head_dim != 64 && head_dim != 128 && !(is_plain && (head_dim == 80 || head_dim == 96))) return 0;
  constexpr std::string_view caches[] = {"bf16", "fp8_e4m3", "int8", "q8_0", "q4_0"};
  for (std::uint64_t i = 0; i < 5; ++i)
    if (caches[i] == cache) return head_dim * 16 + 2 + i;
  return 0;
}

inline constexpr std::size_t decode_blocks_per_sm = 2;

/// Whether every token's rows begin at 16 bytes, as copies of 16 bytes need.
constexpr bool decode_is_aligned(std::size_t kv_heads, std::size_t row_bytes) {
  return kv_heads * row_bytes % 16 == 0;
}

#if defined(DROUGHT_HAS_CUDA)
/// invalid_value for a variant that is not compiled in.
Status decode_body(const Launch& launch, void* stream);
#else
inline constexpr CudaBody decode_body = nullptr;
#endif

}  // namespace drought::sm90
