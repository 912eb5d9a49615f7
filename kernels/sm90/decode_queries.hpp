// The queries of one KV head as a warp multiplies them: B of the first product, as the rows of K have their
// elements, and what makes scores of its sums. For nvcc alone.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/sm90/decode_bodies.hpp"
#include "kernels/sm90/decode_feed.hpp"
#include "kernels/sm90/decode_rows.hpp"

namespace drought::sm90 {

template <typename Tiling>
class DecodeQueries {
 public:
  using T = typename Tiling::T;
  using Rows = typename Tiling::Rows;
  using Key = typename Rows::template Key<T>;
  static constexpr int head_dim = Tiling::head_dim;
  static constexpr int depth_tiles = Tiling::depth_tiles, column_tiles = Tiling::column_tiles;
  /// Parts of the depth, each with a scale of its own.
  static constexpr int sets = Rows::weight_sets, set_tiles = depth_tiles / sets;

  std::uint32_t pairs[column_tiles][depth_tiles][2];
  float scale[column_tiles][2];         // From a sum to a score in base 2, of this lane's two heads.
  float excess[column_tiles][sets][2];  // What a set's sums are too much by.

  /// Asks for the queries.
  DROUGHT_DEVICE void load(const drought::DecodeArguments& given, const DecodeWork& work, int kv_head) {
    const auto* const q = static_cast<const std::uint16_t*>(given.q);
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      const int row = n * decode_columns + lane() / 4;
      const std::size_t head = static_cast<std::size_t>(work.piece.batch) * given.heads +
                               static_cast<std::size_t>(kv_head * work.group + work.first_row + row);
      const std::uint16_t* const own = q + (head * head_dim + Rows::query_element(0, 0, lane() % 4));
      DROUGHT_UNROLL
      for (int t = 0; t < depth_tiles; ++t) {
        DROUGHT_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::uint16_t* const from = own + Rows::query_element(t, half, 0);
          if constexpr (Rows::query_stride == 1)
            pairs[n][t][half] = row < work.rows ? *reinterpret_cast<const std::uint32_t*>(from) : 0;
          else
            pairs[n][t][half] = row < work.rows ? from[0] | from[Rows::query_stride] << 16 : 0;
        }
      }
    }
  }
  /// Makes of them what multiplies the rows.
  DROUGHT_DEVICE void prepare(const drought::DecodeArguments& given) {
    DROUGHT_UNROLL
    for (int n = 0; n < column_tiles; ++n) {
      scale[n][0] = scale[n][1] = given.scale_log2 * given.k_scale;
      if constexpr (!std::is_same_v<Key, T>) narrow_queries(n);
      if constexpr (Rows::key_excess != 0) find_excess(n);
    }
  }

 private:
  DROUGHT_DEVICE static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  /// A value that the lanes of each query head have, for the two heads whose scores this lane has.
  DROUGHT_DEVICE void to_columns(float (&to)[2], float of_row) const {
    DROUGHT_UNROLL
    for (int e = 0; e < 2; ++e) to[e] = __shfl_sync(~0u, of_row, (lane() % 4 * 2 + e) * 4);
  }

  /// Makes fp16 of the queries: each head's times the power of two that brings its largest element to between
  /// 2^14 and 2^15. What an element loses is less than 2^-39 of the largest.
  DROUGHT_DEVICE void narrow_queries(int n) {
    float largest = 0.0f;
    DROUGHT_UNROLL
    for (int i = 0; i < 2 * depth_tiles; ++i) {
      const std::uint32_t pair = pairs[n][i / 2][i % 2];
      largest = fmaxf(largest, fmaxf(fabsf(low_of<T>(pair)), fabsf(high_of<T>(pair))));
    }
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
    const std::uint32_t exponent = max(__float_as_uint(largest) >> 23, 15u);
    const float factor = __uint_as_float((268 - exponent) << 23);
    float columns[2];
    to_columns(columns, __uint_as_float((exponent - 14) << 23));
    scale[n][0] *= columns[0], scale[n][1] *= columns[1];
    DROUGHT_UNROLL
    for (int i = 0; i < 2 * depth_tiles; ++i) {
      std::uint32_t& pair = pairs[n][i / 2][i % 2];
      pair = pair_of(low_of<T>(pair) * factor, high_of<T>(pair) * factor, Key{});
    }
  }

  /// What the products of a set are too much by.
  DROUGHT_DEVICE void find_excess(int n) {
    DROUGHT_UNROLL
    for (int set = 0; set < sets; ++set) {
      float sum = 0;
      DROUGHT_UNROLL
      for (int i = 2 * set * set_tiles; i < 2 * (set + 1) * set_tiles; ++i) {
        const std::uint32_t pair = pairs[n][i / 2][i % 2];
        sum += low_of<Key>(pair) + high_of<Key>(pair);
      }
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      to_columns(excess[n][set], sum * Rows::key_excess);
    }
  }
};

}  // namespace drought::sm90
