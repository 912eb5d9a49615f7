// Decode attention as Hopper wants it: as many bytes of K and V on their way as keep the memory busy, and
// nothing else in their way. Each of a block's warps walks over tiles of 16 keys of its own KV head, brings
// them by asynchronous copies into a ring of its own, and needs no other warp until its piece ends: the warps
// of one head then merge, and the last block to finish a unit combines its pieces, so that there is one
// launch. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/cuda_context.hpp"
#include "kernels/decode_pieces.hpp"
#include "kernels/sm90/decode_bodies.hpp"
#include "kernels/sm90/decode_rows.hpp"

namespace drought::sm90 {

/// Below every score and finite, so that a warp without a visible key makes neither NaN nor weight.
inline constexpr float decode_lowest = -1e30f;

/// `column_tiles` times eight query heads share a KV head.
template <typename T_, typename Rows_, int head_dim_, int column_tiles_>
struct DecodeTiling {
  using T = T_;
  using Rows = DecodeRows<Rows_, head_dim_>;
  static constexpr int head_dim = head_dim_, column_tiles = column_tiles_;
  static constexpr int columns = column_tiles * decode_columns;
  static constexpr int warps = static_cast<int>(decode_warps(Rows::row_bytes));
  static constexpr int threads = warps * 32;
  static constexpr int depth_tiles = head_dim / 16;
  static constexpr int stage_bytes = 2 * (Rows::tokens_bytes + Rows::scale_bytes);
  // Two tiles of each warp are on their way: 128 KiB a multiprocessor with the longest rows.
  static constexpr int stages = 3;
  static constexpr int ring_bytes = stages * stage_bytes;
  // Over the rings, once they are used up: each warp's outputs and its {largest, sum} of every column.
  static constexpr int sums_at = warps * columns * head_dim * 4;
  static constexpr int merge_bytes = sums_at + warps * columns * 8;
  static constexpr int rings_bytes = std::max(warps * ring_bytes, merge_bytes);
  static constexpr int shared_bytes = rings_bytes + 16;
  static_assert(stages >= 2 && stage_bytes % 16 == 0);
};

/// A power of two's division is a shift.
struct PageSize {
  int tokens, shift = -1;  // -1: not a power of two.
  DROUGHT_DEVICE explicit PageSize(int size) : tokens(size) {
    if ((size & (size - 1)) == 0) asm("bfind.u32 %0, %1;" : "=r"(shift) : "r"(size));
  }
  DROUGHT_DEVICE int page_of(int key) const { return shift >= 0 ? key >> shift : key / tokens; }
};

/// What the block does in one piece.
struct DecodeWork {
  DecodePiece piece;
  int batch, first_kv_head;
  int first_row, rows;  // Query heads of each KV head that this block has, from first_row on.
  int group;            // That share a KV head.
};

/// One warp: a KV head of the unit, and every `stride`-th of the piece's tiles.
template <typename Tiling>
class DecodeWarp {
 public:
  using T = typename Tiling::T;
  using Rows = typename Tiling::Rows;
  static constexpr int depth_tiles = Tiling::depth_tiles, column_tiles = Tiling::column_tiles;

  DROUGHT_DEVICE DecodeWarp(const drought::DecodeArguments& given, const DecodeWork& work, std::uint32_t ring,
                            int warp)
      : given_(given),
        work_(work),
        page_(given.page_size),
        ring_(ring),
        lane_(static_cast<int>(threadIdx.x) % 32),
        stride_(Tiling::warps / given.heads_at_once),
        kv_head_(work.first_kv_head + warp % given.heads_at_once),
        tile_(work.piece.begin / decode_tokens + warp / given.heads_at_once) {
    const int last = (work.piece.end + decode_tokens - 1) / decode_tokens;
    const bool has_tiles = work.piece.begin < work.piece.end && warp / given.heads_at_once < stride_;
    tiles_ = has_tiles && tile_ < last ? (last - tile_ + stride_ - 1) / stride_ : 0;
    const auto head_bytes = static_cast<std::uint32_t>(kv_head_ * Rows::row_bytes);
    skip_ = head_bytes % 16;
    token_bytes_ = static_cast<std::size_t>(given.kv_heads) * Rows::row_bytes;
    keys_ = static_cast<const unsigned char*>(given.k) + (head_bytes - skip_);
    values_ = static_cast<const unsigned char*>(given.v) + (head_bytes - skip_);
  }

  DROUGHT_DEVICE void run() {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) largest_[n][0] = largest_[n][1] = decode_lowest;
    find_tokens(0);
    DROUGHT_UNROLL
    for (int stage = 0; stage < Tiling::stages - 1; ++stage) {
      bring(stage, stage);
      find_tokens(stage + 1);
    }
    load_queries();
    for (int i = 0, stage = 0; i < tiles_; ++i) {
      asm volatile("cp.async.wait_group %0;" ::"n"(Tiling::stages - 2) : "memory");
      __syncwarp();  // This stage is there for all lanes, and all have done with the one before.
      const int next = i + Tiling::stages - 1;
      bring(next, stage == 0 ? Tiling::stages - 1 : stage - 1);
      find_tokens(next + 1);
      attend(tile_ + i * stride_, ring_ + stage * Tiling::stage_bytes);
      stage = stage + 1 == Tiling::stages ? 0 : stage + 1;
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
  }

  /// Into shared memory: outputs [column][head_dim], and of each column {largest score, sum of weights}.
  DROUGHT_DEVICE void hand_in(float* out, float2* sums) {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int e = 0; e < 2; ++e) {
        const int column = n * decode_columns + lane_ % 4 * 2 + e;
        float sum = sum_[n][e];
        DROUGHT_UNROLL
        for (int mask = 4; mask < 32; mask *= 2) sum += __shfl_xor_sync(~0u, sum, mask);
        if (lane_ < 4) sums[column] = {largest_[n][e], sum};
        DROUGHT_UNROLL
        for (int t = 0; t < depth_tiles; ++t) {
          out[column * Tiling::head_dim + Rows::element(t, lane_, false)] = out_[n][t][e];
          out[column * Tiling::head_dim + Rows::element(t, lane_, true)] = out_[n][t][2 + e];
        }
      }
    }
  }

 private:
  /// The pool's token of this lane's key in tile `i`, or -1. Looked up a tile ahead of its copies.
  DROUGHT_DEVICE void find_tokens(int i) {
    const int key = (tile_ + i * stride_) * decode_tokens + lane_ % decode_tokens;
    token_ = -1;
    if (i >= tiles_ || key < work_.piece.begin || key >= work_.piece.end) return;
    const int page = page_.page_of(key);
    const std::int32_t* const table =
        given_.page_table + static_cast<std::size_t>(work_.batch) * given_.table_width;
    token_ = static_cast<long long>(__ldg(table + page)) * page_.tokens + (key - page * page_.tokens);
  }

  template <int bytes>
  DROUGHT_DEVICE static void copy(std::uint32_t to, const void* from, bool valid) {
    if constexpr (bytes == 16 && Rows::is_plain) {
      asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                   "r"(valid ? 16 : 0)
                   : "memory");
    } else if constexpr (bytes == 16) {  // A line of 128 bytes would be other heads' too.
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
                   : "memory");
    } else {
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(valid ? 4 : 0)
                   : "memory");
    }
  }

  /// Issues the copies of tile `i`, which find_tokens() was last called for. Zeros where there is no key.
  DROUGHT_DEVICE void bring(int i, int stage) {
    if (i < tiles_) {
      const std::uint32_t to = ring_ + stage * Tiling::stage_bytes;
      constexpr int copies = decode_tokens * Rows::pieces;
      DROUGHT_UNROLL
      for (int first = 0; first < copies; first += 32) {
        const int at = first + lane_, row = at / Rows::pieces, piece = at % Rows::pieces;
        const long long token = __shfl_sync(~0u, token_, row % decode_tokens);
        if (copies % 32 != 0 && at >= copies) continue;
        const std::size_t from =
            (token < 0 ? 0 : static_cast<std::size_t>(token)) * token_bytes_ + piece * 16;
        const std::uint32_t place = to + row * Rows::pitch + piece * 16;
        copy<16>(place, keys_ + from, token >= 0);
        copy<16>(place + Rows::tokens_bytes, values_ + from, token >= 0);
      }
      if constexpr (Rows::scale_bytes != 0) {
        const float* const scales = lane_ < decode_tokens ? given_.k_scales : given_.v_scales;
        const std::size_t from = (token_ < 0 ? 0 : static_cast<std::size_t>(token_)) * given_.kv_heads;
        copy<4>(to + 2 * Rows::tokens_bytes + lane_ * 4, scales + from + kv_head_, token_ >= 0);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  DROUGHT_DEVICE void load_queries() {
    const auto* const q = static_cast<const T*>(given_.q);
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      const int row = n * decode_columns + lane_ / 4;
      const std::size_t head = static_cast<std::size_t>(work_.batch) * given_.heads +
                               static_cast<std::size_t>(kv_head_ * work_.group + work_.first_row + row);
      DROUGHT_UNROLL
      for (int t = 0; t < depth_tiles; ++t) {
        DROUGHT_UNROLL
        for (int half = 0; half < 2; ++half)
          queries_[n][t][half] = row < work_.rows
                                     ? *reinterpret_cast<const std::uint32_t*>(
                                           q + head * Tiling::head_dim + t * 16 + half * 8 + lane_ % 4 * 2)
                                     : 0;
      }
    }
  }

  DROUGHT_DEVICE static float shared_float(std::uint32_t address) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
    return value;
  }

  /// Element e of a lane's scores stands for token g, or from e = 2 on for g + 8.
  DROUGHT_DEVICE void score(float (&scores)[column_tiles][4], std::uint32_t rows) const {
    const std::uint32_t own = rows + skip_ + lane_ / 4 * Rows::pitch;
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) scores[n][e] = 0.0f;
    }
    DROUGHT_UNROLL
    for (int t = 0; t < depth_tiles; t += Rows::steps) {
      std::uint32_t a[Rows::steps][4];
      Rows::keys(a, rows + skip_, t, lane_);
      if constexpr (Rows::has_blocks) {
        const float scale[2] = {Rows::block_scale(own, t / 2),
                                Rows::block_scale(own + 8 * Rows::pitch, t / 2)};
        DROUGHT_UNROLL
        for (int n = 0; n < column_tiles; ++n) {
          float block[4] = {0.0f, 0.0f, 0.0f, 0.0f};
          DROUGHT_UNROLL
          for (int s = 0; s < Rows::steps; ++s) multiply_16x8(block, a[s], queries_[n][t + s], T{});
          DROUGHT_UNROLL
          for (int e = 0; e < 4; ++e) scores[n][e] += block[e] * scale[e / 2];
        }
      } else {
        DROUGHT_UNROLL
        for (int n = 0; n < column_tiles; ++n) multiply_16x8(scores[n], a[0], queries_[n][t], T{});
      }
    }
  }

  /// What the weights of the lane's two tokens are scaled by for the elements of weight set `set`.
  DROUGHT_DEVICE void value_scales(float (&scale)[2], std::uint32_t stage, int set) const {
    if constexpr (Rows::has_blocks) {
      const std::uint32_t own = stage + Rows::tokens_bytes + skip_ + lane_ / 4 * Rows::pitch;
      scale[0] = Rows::block_scale(own, set), scale[1] = Rows::block_scale(own + 8 * Rows::pitch, set);
    } else {
      const std::uint32_t own = stage + 2 * Rows::tokens_bytes + Rows::scale_bytes + lane_ / 4 * 4;
      scale[0] = shared_float(own), scale[1] = shared_float(own + 32);
    }
  }

  /// Scores in base 2, of keys that are not seen -infinity; then rescales what is there for a larger one.
  DROUGHT_DEVICE void weigh(float (&scores)[column_tiles][4], int tile, std::uint32_t stage) {
    float scale[2] = {given_.scale_log2 * given_.k_scale, given_.scale_log2 * given_.k_scale};
    if constexpr (Rows::scale_bytes != 0) {
      const std::uint32_t own = stage + 2 * Rows::tokens_bytes + lane_ / 4 * 4;
      scale[0] *= shared_float(own), scale[1] *= shared_float(own + 32);
    }
    bool visible[2];
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int key = tile * decode_tokens + lane_ / 4 + 8 * r;
      visible[r] = key >= work_.piece.begin && key < work_.piece.end;
    }
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      float largest[2] = {largest_[n][0], largest_[n][1]};
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) {
        scores[n][e] = visible[e / 2] ? scores[n][e] * scale[e / 2] : negative_infinity();
        largest[e % 2] = fmaxf(largest[e % 2], scores[n][e]);
      }
      DROUGHT_UNROLL
      for (int mask = 4; mask < 32; mask *= 2) {
        largest[0] = fmaxf(largest[0], __shfl_xor_sync(~0u, largest[0], mask));
        largest[1] = fmaxf(largest[1], __shfl_xor_sync(~0u, largest[1], mask));
      }
      const bool is_larger = largest[0] > largest_[n][0] || largest[1] > largest_[n][1];
      if (__any_sync(~0u, is_larger)) rescale(n, largest);
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) scores[n][e] = exp2_of(scores[n][e] - largest_[n][e % 2]);
    }
  }

  DROUGHT_DEVICE void rescale(int n, const float (&largest)[2]) {
    DROUGHT_UNROLL
    for (int e = 0; e < 2; ++e) {
      const float factor = exp2_of(largest_[n][e] - largest[e]);
      largest_[n][e] = largest[e];
      sum_[n][e] *= factor;
      DROUGHT_UNROLL
      for (int t = 0; t < depth_tiles; ++t) out_[n][t][e] *= factor, out_[n][t][2 + e] *= factor;
    }
  }

  /// The weights of the lane's heads and tokens as B of the second product. What is added up is what
  /// multiplies V, so that equal values average to themselves; scaled weights are added up before they are.
  DROUGHT_DEVICE void place_weights(std::uint32_t (&b)[column_tiles][2],
                                    const float (&weights)[column_tiles][4], const float (&scale)[2]) const {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int r = 0; r < 2; ++r)
        b[n][r] = transposed(pair_of(weights[n][2 * r] * scale[r], weights[n][2 * r + 1] * scale[r], T{}));
    }
  }

  DROUGHT_DEVICE void add_up(float (&weights)[column_tiles][4]) {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int r = 0; r < 2; ++r) {
        if constexpr (!Rows::scales_weights) {
          const std::uint32_t rounded = pair_of(weights[n][2 * r], weights[n][2 * r + 1], T{});
          weights[n][2 * r] = low_of<T>(rounded), weights[n][2 * r + 1] = high_of<T>(rounded);
        }
        sum_[n][0] += weights[n][2 * r];
        sum_[n][1] += weights[n][2 * r + 1];
      }
    }
  }

  DROUGHT_DEVICE void attend(int tile, std::uint32_t stage) {
    float scores[column_tiles][4];
    score(scores, stage);
    weigh(scores, tile, stage);
    add_up(scores);
    constexpr int tiles_of_set = depth_tiles / Rows::weight_sets;
    DROUGHT_UNROLL
    for (int set = 0; set < Rows::weight_sets; ++set) {
      float scale[2] = {1.0f, 1.0f};
      if constexpr (Rows::scales_weights) value_scales(scale, stage, set);
      std::uint32_t weights[column_tiles][2];
      place_weights(weights, scores, scale);
      DROUGHT_UNROLL
      for (int t = set * tiles_of_set; t < (set + 1) * tiles_of_set; t += Rows::steps) {
        std::uint32_t a[Rows::steps][4];
        Rows::values(a, stage + Rows::tokens_bytes + skip_, t, lane_);
        DROUGHT_UNROLL
        for (int s = 0; s < Rows::steps; ++s) {
          DROUGHT_UNROLL
          for (int n = 0; n < column_tiles; ++n) multiply_16x8(out_[n][t + s], a[s], weights[n], T{});
        }
      }
    }
  }

  const drought::DecodeArguments& given_;
  const DecodeWork& work_;
  const PageSize page_;
  const std::uint32_t ring_;
  const int lane_, stride_, kv_head_, tile_;
  int tiles_;
  std::uint32_t skip_;  // Bytes from the first copy to the row.
  std::size_t token_bytes_;
  const unsigned char *keys_, *values_;
  long long token_ = -1;
  std::uint32_t queries_[column_tiles][depth_tiles][2];
  float largest_[column_tiles][2], sum_[column_tiles][2] = {};
  float out_[column_tiles][depth_tiles][4] = {};
};

}  // namespace drought::sm90
