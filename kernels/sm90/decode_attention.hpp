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
#include "kernels/sm90/decode_queries.hpp"
#include "kernels/sm90/decode_rows.hpp"
#include "kernels/sm90/decode_tiling.hpp"

namespace drought::sm90 {

/// Below every score and finite, so that a warp without a visible key makes neither NaN nor weight.
inline constexpr float decode_lowest = -1e30f;
/// How far, in base 2, a score may be above what weights are relative to: so far that there is little to be
/// rescaled, and weights are far from fp16's end. Source: FlashAttention-4 (2025), which rescales as lazily.
inline constexpr float may_exceed = 8.0f;

/// One warp: a KV head of the unit, and every `stride`-th of the piece's tiles.
template <typename Tiling>
class DecodeWarp {
 public:
  using T = typename Tiling::T;
  using Rows = typename Tiling::Rows;
  using Key = typename Rows::template Key<T>;
  using Value = typename Rows::template Value<T>;
  static constexpr int depth_tiles = Tiling::depth_tiles, column_tiles = Tiling::column_tiles;
  static constexpr int sets = DecodeQueries<Tiling>::sets, set_tiles = depth_tiles / sets;

  DROUGHT_DEVICE DecodeWarp(const drought::DecodeArguments& given, const DecodeWork& work,
                            const DecodeWalk& walk)
      : given_(given), work_(work), walk_(walk), lane_(static_cast<int>(threadIdx.x) % 32) {
    if constexpr (Rows::is_nibbles) {
      DROUGHT_UNROLL
      for (std::uint32_t& to : less_136_)
        asm volatile("mov.b32 %0, %1;" : "=r"(to) : "n"(Rows::value_constant));
    }
  }

  DROUGHT_DEVICE void run(typename Tiling::Feed& feed) {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) largest_[n][0] = largest_[n][1] = decode_lowest;
    // Queries that are asked for behind so many rows come last. Held until rows are asked for, those of
    // quantised rows would want more registers than there are.
    if constexpr (!Tiling::shares_rows) queries_.load(given_, work_, walk_.kv_head);
    feed.begin();
    if constexpr (Tiling::shares_rows) queries_.load(given_, work_, walk_.kv_head);
    queries_.prepare(given_);
    for (int i = 0; i < walk_.count; ++i) {
      const DecodeTile tile = feed.take_keys(i);
      Scores scores[halves];
      multiply_keys(scores, tile);
      feed.give_keys(i);
      weigh(scores);
      feed.take_values();
      multiply_values(scores, tile);
      feed.give_values(i);
    }
    feed.end();
  }

  /// visit(column, {largest score, sum of weights}, element of an output, its weighted sum, and the same of
  /// the element that belongs with it) for all that this lane has of the first `rows` columns.
  template <typename Visit>
  DROUGHT_DEVICE void results(int rows, Visit visit) const {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int e = 0; e < 2; ++e) {
        float sum = sum_[n][e];
        DROUGHT_UNROLL
        for (int mask = 4; mask < 32; mask *= 2) sum += __shfl_xor_sync(~0u, sum, mask);
        const int column = n * decode_columns + lane_ % 4 * 2 + e;
        if (column >= rows) continue;
        DROUGHT_UNROLL
        for (int t = 0; t < depth_tiles; ++t)
          visit(column, float2{largest_[n][e], sum}, Rows::element(t, lane_, false), out_[n][t][e],
                Rows::element(t, lane_, true), out_[n][t][2 + e]);
      }
    }
  }

 private:
  static constexpr int halves = Rows::halves;
  static constexpr int scales_bytes = decode_tokens * Rows::heads * 4;
  using Scores = float[column_tiles][4];  // Of sixteen tokens.

  /// Element e of a lane's scores stands for the token of row g, or from e = 2 on for that of the lower row.
  DROUGHT_DEVICE void score(Scores& scores, std::uint32_t rows) const {
    if constexpr (Rows::has_blocks) {
      const std::uint32_t own = rows + Rows::token_at(Rows::token_of(lane_ / 4));
      DROUGHT_UNROLL
      for (int i = 0; i < 4 * column_tiles; ++i) scores[i / 4][i % 4] = 0.0f;
      DROUGHT_UNROLL
      for (int block = 0; block < sets; ++block) {
        Scores sums;
        multiply_keys(sums, rows, block);
        const float scale[2] = {Rows::block_scale(own, block),
                                Rows::block_scale(own + Rows::lower_bytes, block)};
        DROUGHT_UNROLL
        for (int i = 0; i < 4 * column_tiles; ++i)
          scores[i / 4][i % 4] += sums[i / 4][i % 4] * scale[i % 4 / 2];
      }
    } else {
      multiply_keys(scores, rows, 0);
    }
  }

  /// The products of one set of the depth, with what they are too much taken off before.
  DROUGHT_DEVICE void multiply_keys(Scores& sums, std::uint32_t rows, int set) const {
    // A product waits for what it adds to, so every other one adds to others.
    constexpr bool has_others = set_tiles >= 4;
    Scores others{};
    DROUGHT_UNROLL
    for (int i = 0; i < 4 * column_tiles; ++i)
      sums[i / 4][i % 4] = Rows::key_excess != 0 ? -queries_.excess[i / 4][set][i % 2] : 0.0f;
    DROUGHT_UNROLL
    for (int t = set * set_tiles; t < (set + 1) * set_tiles; t += Rows::steps) {
      std::uint32_t a[Rows::steps][4];
      Rows::keys(a, rows, t, lane_);
      DROUGHT_UNROLL
      for (int s = 0; s < Rows::steps; ++s) {
        DROUGHT_UNROLL
        for (int n = 0; n < column_tiles; ++n)
          multiply_16x8(has_others && (t + s) % 2 == 1 ? others[n] : sums[n], a[s], queries_.pairs[n][t + s],
                        Key{});
      }
    }
    if constexpr (has_others) {
      DROUGHT_UNROLL
      for (int i = 0; i < 4 * column_tiles; ++i) sums[i / 4][i % 4] += others[i / 4][i % 4];
    }
  }

  /// What the weights of the lane's two tokens are scaled by for the elements of weight set `set`. `values`:
  /// where V's rows begin.
  DROUGHT_DEVICE void value_scales(float (&scale)[2], std::uint32_t values, std::uint32_t scales,
                                   int set) const {
    if constexpr (Rows::has_blocks) {
      const std::uint32_t own = values + Rows::token_at(Rows::token_of(lane_ / 4));
      scale[0] = Rows::block_scale(own, set), scale[1] = Rows::block_scale(own + Rows::lower_bytes, set);
    } else {
      row_scales(scale, scales);
    }
  }

  /// The lane's two tokens' own scales.
  DROUGHT_DEVICE void row_scales(float (&scale)[2], std::uint32_t scales) const {
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r)
      asm volatile("ld.shared.f32 %0, [%1];"
                   : "=f"(scale[r])
                   : "r"(scales + (Rows::token_of(lane_ / 4) + r * Rows::lower_tokens) * Rows::heads * 4)
                   : "memory");
  }

  /// Makes scores in base 2 of products, of keys that are not seen -infinity.
  DROUGHT_DEVICE void scale_scores(Scores& scores, int first_key, std::uint32_t scales) const {
    float scale[2] = {1.0f, 1.0f};
    if constexpr (Rows::scale_bytes != 0) row_scales(scale, scales);
    bool visible[2];
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int key = first_key + Rows::token_of(lane_ / 4) + r * Rows::lower_tokens;
      visible[r] = key >= work_.piece.begin && key < work_.piece.end;
    }
    DROUGHT_UNROLL
    for (int i = 0; i < 4 * column_tiles; ++i) {
      const int n = i / 4, e = i % 4;
      const float scaled = scores[n][e] * (queries_.scale[n][e % 2] * scale[e / 2]);
      scores[n][e] = visible[e / 2] ? scaled : negative_infinity();
    }
  }

  /// Makes weights of the scores, relative to about the largest so far: what is there is rescaled where one
  /// is much larger.
  DROUGHT_DEVICE void weigh(Scores (&scores)[halves]) {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      float largest[2] = {largest_[n][0], largest_[n][1]};
      DROUGHT_UNROLL
      for (int i = 0; i < 4 * halves; ++i) largest[i % 2] = fmaxf(largest[i % 2], scores[i / 4][n][i % 4]);
      DROUGHT_UNROLL
      for (int mask = 4; mask < 32; mask *= 2) {
        largest[0] = fmaxf(largest[0], __shfl_xor_sync(~0u, largest[0], mask));
        largest[1] = fmaxf(largest[1], __shfl_xor_sync(~0u, largest[1], mask));
      }
      const bool is_larger =
          largest[0] > largest_[n][0] + may_exceed || largest[1] > largest_[n][1] + may_exceed;
      if (__any_sync(~0u, is_larger)) rescale(n, largest);
      DROUGHT_UNROLL
      for (int i = 0; i < 4 * halves; ++i)
        scores[i / 4][n][i % 4] = exp2_of(scores[i / 4][n][i % 4] - largest_[n][i % 2]);
    }
    DROUGHT_UNROLL
    for (int half = 0; half < halves; ++half) add_up(scores[half]);
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
  DROUGHT_DEVICE void place_weights(std::uint32_t (&b)[column_tiles][2], const Scores& weights,
                                    const float (&scale)[2]) const {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      DROUGHT_UNROLL
      for (int r = 0; r < 2; ++r)
        b[n][r] =
            transposed(pair_of(weights[n][2 * r] * scale[r], weights[n][2 * r + 1] * scale[r], Value{}));
    }
  }

  DROUGHT_DEVICE void add_up(Scores& weights) {
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

  DROUGHT_DEVICE void multiply_keys(Scores (&scores)[halves], const DecodeTile& tile) const {
    DROUGHT_UNROLL
    for (int half = 0; half < halves; ++half) {
      score(scores[half], tile.rows + half * Rows::half_bytes);
      scale_scores(scores[half], tile.first_key + half * decode_tokens, tile.scales + half * scales_bytes);
    }
  }

  DROUGHT_DEVICE void multiply_values(const Scores (&weights)[halves], const DecodeTile& tile) {
    DROUGHT_UNROLL
    for (int i = 0; i < halves * sets; ++i) {
      const int half = i % halves;
      multiply_values(weights[half], tile.rows + Rows::tokens_bytes + half * Rows::half_bytes,
                      tile.scales + Rows::scale_bytes + half * scales_bytes, i / halves);
    }
  }

  /// Adds the values of sixteen tokens to the elements of weight set `set`.
  DROUGHT_DEVICE void multiply_values(const Scores& of, std::uint32_t values, std::uint32_t scales, int set) {
    float scale[2] = {1.0f, 1.0f};
    if constexpr (Rows::scales_weights) value_scales(scale, values, scales, set);
    std::uint32_t weights[column_tiles][2];
    place_weights(weights, of, scale);
    DROUGHT_UNROLL
    for (int t = set * set_tiles; t < (set + 1) * set_tiles; t += Rows::steps) {
      std::uint32_t a[Rows::steps][4];
      Rows::values(a, values, t, lane_);
      DROUGHT_UNROLL
      for (int i = 0; i < Rows::steps * Rows::value_parts; ++i) {
        const int s = i / Rows::value_parts;
        std::uint32_t part[4];
        Rows::value_part(part, a[s], less_136_, i % Rows::value_parts);
        DROUGHT_UNROLL
        for (int n = 0; n < column_tiles; ++n) multiply_16x8(out_[n][t + s], part, weights[n], Value{});
      }
    }
  }

  const drought::DecodeArguments& given_;
  const DecodeWork& work_;
  const DecodeWalk& walk_;
  const int lane_;
  DecodeQueries<Tiling> queries_;
  std::uint32_t less_136_[4];
  // What weights are relative to; no score is above it by more than may_exceed.
  float largest_[column_tiles][2];
  float sum_[column_tiles][2] = {};
  float out_[column_tiles][depth_tiles][4] = {};
};

}  // namespace drought::sm90
