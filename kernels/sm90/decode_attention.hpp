// Decode attention as Hopper wants it: as many bytes of K and V on their way as keep the memory busy, and
// nothing else in their way. Each of a block's warps walks over tiles of 16 keys of its own KV head and needs
// no other warp until its piece ends. The last to finish a unit combines its pieces, so that there is one
// launch. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/cuda_context.hpp"
#include "kernels/decode_pieces.hpp"
#include "kernels/sm90/decode_rows.hpp"
#include "kernels/sm90/decode_tiling.hpp"

namespace drought::sm90 {

/// Below every score and finite, so that a warp without a visible key makes neither NaN nor weight.
inline constexpr float decode_lowest = -1e30f;

/// One warp: a KV head of the unit, and every `stride`-th of the piece's tiles.
template <typename Tiling>
class DecodeWarp {
 public:
  using T = typename Tiling::T;
  using Rows = typename Tiling::Rows;
  using Key = typename Rows::template Key<T>;
  using Value = typename Rows::template Value<T>;
  static constexpr int depth_tiles = Tiling::depth_tiles, column_tiles = Tiling::column_tiles;

  DROUGHT_DEVICE DecodeWarp(const drought::DecodeArguments& given, const DecodeWork& work,
                            const DecodeWalk& walk)
      : given_(given), work_(work), walk_(walk), lane_(static_cast<int>(threadIdx.x) % 32) {}

  DROUGHT_DEVICE void run(typename Tiling::Feed& feed) {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) largest_[n][0] = largest_[n][1] = decode_lowest;
    feed.begin();
    load_queries();
    for (int i = 0; i < walk_.count; ++i) {
      attend(feed.take(i));
      feed.give();
    }
    feed.end();
  }

  /// visit(column, {largest score, sum of weights}, element of an output, its weighted sum, and the same of
  /// the element that belongs with it) for all that this lane has.
  template <typename Visit>
  DROUGHT_DEVICE void results(Visit visit) const {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int e = 0; e < 2; ++e) {
        float sum = sum_[n][e];
        DROUGHT_UNROLL
        for (int mask = 4; mask < 32; mask *= 2) sum += __shfl_xor_sync(~0u, sum, mask);
        const int column = n * decode_columns + lane_ % 4 * 2 + e;
        DROUGHT_UNROLL
        for (int t = 0; t < depth_tiles; ++t)
          visit(column, float2{largest_[n][e], sum}, Rows::element(t, lane_, false), out_[n][t][e],
                Rows::element(t, lane_, true), out_[n][t][2 + e]);
      }
    }
  }

 private:
  DROUGHT_DEVICE void load_queries() {
    const auto* const q = static_cast<const std::uint16_t*>(given_.q);
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      const int row = n * decode_columns + lane_ / 4;
      const std::size_t head = static_cast<std::size_t>(work_.batch) * given_.heads +
                               static_cast<std::size_t>(walk_.kv_head * work_.group + work_.first_row + row);
      DROUGHT_UNROLL
      for (int t = 0; t < depth_tiles; ++t) {
        DROUGHT_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::uint16_t* const from =
              q + head * Tiling::head_dim + Rows::query_element(t, half, lane_ % 4);
          queries_[n][t][half] = row < work_.rows ? from[0] | from[Rows::query_stride] << 16 : 0;
        }
      }
      column_scale_[n][0] = column_scale_[n][1] = given_.scale_log2 * given_.k_scale;
      if constexpr (!std::is_same_v<Key, T>) narrow_queries(n);
    }
  }

  /// A value that the lanes of each query head have, for the two heads whose scores this lane has.
  DROUGHT_DEVICE void to_columns(float (&to)[2], float of_row) const {
    DROUGHT_UNROLL
    for (int e = 0; e < 2; ++e) to[e] = __shfl_sync(~0u, of_row, (lane_ % 4 * 2 + e) * 4);
  }

  /// Makes fp16 of the queries: each head's times the power of two that brings its largest element to between
  /// 2^14 and 2^15. What an element loses is less than 2^-39 of the largest.
  DROUGHT_DEVICE void narrow_queries(int n) {
    float largest = 0.0f;
    DROUGHT_UNROLL
    for (int i = 0; i < 2 * depth_tiles; ++i) {
      const std::uint32_t pair = queries_[n][i / 2][i % 2];
      largest = fmaxf(largest, fmaxf(fabsf(low_of<T>(pair)), fabsf(high_of<T>(pair))));
    }
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
    const std::uint32_t exponent = max(__float_as_uint(largest) >> 23, 15u);
    const float factor = __uint_as_float((268 - exponent) << 23);
    float columns[2];
    to_columns(columns, __uint_as_float((exponent - 14) << 23));
    column_scale_[n][0] *= columns[0], column_scale_[n][1] *= columns[1];
    DROUGHT_UNROLL
    for (int i = 0; i < 2 * depth_tiles; ++i) {
      std::uint32_t& pair = queries_[n][i / 2][i % 2];
      pair = pair_of(low_of<T>(pair) * factor, high_of<T>(pair) * factor, Key{});
    }
  }

  /// Element e of a lane's scores stands for token g, or from e = 2 on for g + 8.
  DROUGHT_DEVICE void score(float (&scores)[column_tiles][4], std::uint32_t rows) const {
    const std::uint32_t own = rows + lane_ / 4 * Rows::pitch;
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) scores[n][e] = 0.0f;
    }
    DROUGHT_UNROLL
    for (int t = 0; t < depth_tiles; t += Rows::steps) {
      std::uint32_t a[Rows::steps][4];
      Rows::keys(a, rows, t, lane_);
      if constexpr (Rows::has_blocks) {
        float sums[column_tiles][4] = {};
        multiply_keys(sums, a, t);
        const float scale[2] = {Rows::block_scale(own, t / 2),
                                Rows::block_scale(own + 8 * Rows::pitch, t / 2)};
        DROUGHT_UNROLL
        for (int i = 0; i < 4 * column_tiles; ++i)
          scores[i / 4][i % 4] += sums[i / 4][i % 4] * scale[i % 4 / 2];
      } else {
        multiply_keys(scores, a, t);
      }
    }
  }

  DROUGHT_DEVICE void multiply_keys(float (&sums)[column_tiles][4], const std::uint32_t (&a)[Rows::steps][4],
                                    int t) const {
    DROUGHT_UNROLL
    for (int i = 0; i < Rows::steps * Rows::key_parts; ++i) {
      const int s = i / Rows::key_parts;
      std::uint32_t part[4];
      Rows::key_part(part, a[s], i % Rows::key_parts);
      DROUGHT_UNROLL
      for (int n = 0; n < column_tiles; ++n) multiply_16x8(sums[n], part, queries_[n][t + s], Key{});
    }
  }

  /// What the weights of the lane's two tokens are scaled by for the elements of weight set `set`.
  DROUGHT_DEVICE void value_scales(float (&scale)[2], const DecodeTile& tile, int set) const {
    if constexpr (Rows::has_blocks) {
      const std::uint32_t own = tile.rows + Rows::tokens_bytes + lane_ / 4 * Rows::pitch;
      scale[0] = Rows::block_scale(own, set), scale[1] = Rows::block_scale(own + 8 * Rows::pitch, set);
    } else {
      row_scales(scale, tile.scales + Rows::scale_bytes);
    }
  }

  /// The lane's two tokens' own scales.
  DROUGHT_DEVICE void row_scales(float (&scale)[2], std::uint32_t scales) const {
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r)
      asm volatile("ld.shared.f32 %0, [%1];"
                   : "=f"(scale[r])
                   : "r"(scales + (lane_ / 4 + 8 * r) * Rows::heads * 4)
                   : "memory");
  }

  /// Scores in base 2, of keys that are not seen -infinity; then rescales what is there for a larger one.
  DROUGHT_DEVICE void weigh(float (&scores)[column_tiles][4], const DecodeTile& tile) {
    float scale[2] = {1.0f, 1.0f};
    if constexpr (Rows::scale_bytes != 0) row_scales(scale, tile.scales);
    bool visible[2];
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int key = tile.first_key + lane_ / 4 + 8 * r;
      visible[r] = key >= work_.piece.begin && key < work_.piece.end;
    }
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      float largest[2] = {largest_[n][0], largest_[n][1]};
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) {
        const float scaled = scores[n][e] * (column_scale_[n][e % 2] * scale[e / 2]);
        scores[n][e] = visible[e / 2] ? scaled : negative_infinity();
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
        b[n][r] =
            transposed(pair_of(weights[n][2 * r] * scale[r], weights[n][2 * r + 1] * scale[r], Value{}));
    }
  }

  DROUGHT_DEVICE void add_up(float (&weights)[column_tiles][4]) {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int r = 0; r < 2; ++r) {
        if constexpr (!Rows::scales_weights) {
          const std::uint32_t rounded = pair_of(weights[n][2 * r], weights[n][2 * r + 1], Value{});
          weights[n][2 * r] = low_of<Value>(rounded), weights[n][2 * r + 1] = high_of<Value>(rounded);
        }
        sum_[n][0] += weights[n][2 * r];
        sum_[n][1] += weights[n][2 * r + 1];
      }
    }
  }

  DROUGHT_DEVICE void attend(const DecodeTile& tile) {
    float scores[column_tiles][4];
    score(scores, tile.rows);
    weigh(scores, tile);
    add_up(scores);
    constexpr int tiles_of_set = depth_tiles / Rows::weight_sets;
    DROUGHT_UNROLL
    for (int set = 0; set < Rows::weight_sets; ++set) {
      float scale[2] = {1.0f, 1.0f};
      if constexpr (Rows::scales_weights) value_scales(scale, tile, set);
      std::uint32_t weights[column_tiles][2];
      place_weights(weights, scores, scale);
      DROUGHT_UNROLL
      for (int t = set * tiles_of_set; t < (set + 1) * tiles_of_set; t += Rows::steps) {
        std::uint32_t a[Rows::steps][4];
        Rows::values(a, tile.rows + Rows::tokens_bytes, t, lane_);
        DROUGHT_UNROLL
        for (int i = 0; i < Rows::steps * Rows::value_parts; ++i) {
          const int s = i / Rows::value_parts;
          std::uint32_t part[4];
          Rows::value_part(part, a[s], i % Rows::value_parts);
          DROUGHT_UNROLL
          for (int n = 0; n < column_tiles; ++n) multiply_16x8(out_[n][t + s], part, weights[n], Value{});
        }
      }
    }
  }

  const drought::DecodeArguments& given_;
  const DecodeWork& work_;
  const DecodeWalk& walk_;
  const int lane_;
  std::uint32_t queries_[column_tiles][depth_tiles][2];
  float column_scale_[column_tiles][2];  // From a product to a score in base 2.
  float largest_[column_tiles][2], sum_[column_tiles][2] = {};
  float out_[column_tiles][depth_tiles][4] = {};
};

}  // namespace drought::sm90
