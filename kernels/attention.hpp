// The pass that every attention kernel here makes: a block of warps holds 16 query rows a warp and walks over
// the keys in tiles, with the softmax rescaled as it goes (Milakov and Gimelshein 2018; Dao et al. 2022). K
// and V tiles arrive by asynchronous copies; the next K tile is under way while the softmax runs, the V tile
// while the scores are computed.
//
// V's tile has eight more columns of ones. The sum of the weights is thus made by the same products in the
// same order as the output, so that it needs no reduction, and a V of ones gives exactly one in any type.
// Rows that are not there are zeros, and whatever lies in memory in their place is never read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/config.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"

namespace drought {

/// Where the tiles of a block lie in shared memory. Rows are eight elements longer than they need be, so that
/// the eight rows that ldmatrix reads at once lie in different banks.
template <typename T, int head_dim, int warps>
struct AttentionTiles {
  // The longest tile that leaves a block within the 99 KiB of the chips with the least shared memory.
  static constexpr int keys = sizeof(T) == 4 && head_dim > 80 ? 32 : 64;
  static constexpr int rows = warps * tile_rows;
  static constexpr int threads = warps * warp_lanes;
  static constexpr int depth = (head_dim + 15) / 16 * 16;  // What mma.sync takes; zeros past head_dim.
  static constexpr int key_pitch = depth + 8;
  static constexpr int value_pitch = head_dim + 8;  // These eight are the ones.
  static constexpr int weight_pitch = keys + 8;

  static constexpr std::size_t query_offset = 0;
  static constexpr std::size_t key_offset = query_offset + sizeof(T) * rows * key_pitch;
  static constexpr std::size_t value_offset = key_offset + sizeof(T) * keys * key_pitch;
  static constexpr std::size_t weight_offset = value_offset + sizeof(T) * keys * value_pitch;
  static constexpr std::size_t bytes = weight_offset + sizeof(T) * rows * weight_pitch;
};

/// A row in global memory: its first element, and whether it is there.
struct GlobalRow {
  std::size_t start;
  bool valid;
};

/// What one thread has when a pass ends: its share of the weighted sums of V, in whose last tile every
/// element is its row's sum of weights, and the largest score (times scale_log2) of its two rows.
template <int head_dim>
struct AttentionSums {
  Fragment<head_dim + 8> out;
  float largest[2];

  DROUGHT_ANYWHERE float weight_sum(int element) const { return out.value[head_dim / 8][element]; }
  /// A row without keys is zero.
  DROUGHT_ANYWHERE float normalized(int tile, int element) const {
    const float sum = weight_sum(element);
    return sum == 0.0f ? 0.0f : out.value[tile][element] / sum;
  }
};

/// Issues the copies of `rows` rows of head_dim elements.
template <int head_dim, int rows, int threads, typename T, typename Context, typename RowAt>
DROUGHT_DEVICE void copy_rows(Context& context, Tile<T> to,
                              const typename Context::template Global<const T>& from, RowAt row_at) {
  constexpr int elements = 16 / static_cast<int>(sizeof(T));
  constexpr int pieces = head_dim / elements;
  for (int i = context.thread(); i < rows * pieces; i += threads) {
    const int row = i / pieces, column = i % pieces * elements;
    const GlobalRow at = row_at(row);
    context.copy_async(to.data + row * to.pitch + column, from, at.start + static_cast<std::size_t>(column),
                       at.valid);
  }
}

/// Writes `value` into the columns [first, first + count) of `rows` rows.
template <int rows, int first, int count, int threads, typename T, typename Context>
DROUGHT_DEVICE void set_columns(Context& context, Tile<T> tile, float value) {
  for (int i = context.thread(); i < rows * count; i += threads)
    tile.data[i / count * tile.pitch + first + i % count] = from_float<T>(value);
}

/// Turns scores into weights relative to the row's largest so far and rescales what is there for a larger
/// one. Keys from limit[] on weigh nothing. The weights go to shared memory as T.
template <int head_dim, int keys, typename T, typename Context>
DROUGHT_DEVICE void weigh(Context& context, Fragment<keys>& scores, AttentionSums<head_dim>& sums,
                          Tile<T> weights, int first_key, const int (&limit)[2], float scale_log2) {
  using Scores = Fragment<keys>;
  const int lane = context.lane();
  float largest[2] = {sums.largest[0], sums.largest[1]};
  DROUGHT_UNROLL
  for (int t = 0; t < Scores::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) {
      const bool visible = first_key + Scores::column(lane, t, e) < limit[e / 2];
      const float score = visible ? scores.value[t][e] * scale_log2 : negative_infinity();
      scores.value[t][e] = score;
      largest[e / 2] = largest[e / 2] < score ? score : largest[e / 2];
    }
  }
  context.template reduce_max<4>(largest);
  float base[2], rescale[2];
  DROUGHT_UNROLL
  for (int r = 0; r < 2; ++r) {
    base[r] = largest[r] == negative_infinity() ? 0.0f : largest[r];
    rescale[r] = exp2_of(sums.largest[r] - base[r]);
    sums.largest[r] = largest[r];
  }
  DROUGHT_UNROLL
  for (int t = 0; t < Scores::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) scores.value[t][e] = exp2_of(scores.value[t][e] - base[e / 2]);
  }
  DROUGHT_UNROLL
  for (int t = 0; t < Scores::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      weights.data[Scores::row(lane, e) * weights.pitch + Scores::column(lane, t, e)] =
          from_float<T>(scores.value[t][e]);
  }
  DROUGHT_UNROLL
  for (int t = 0; t < Fragment<head_dim + 8>::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) sums.out.value[t][e] *= rescale[e / 2];
  }
}

/// The keys of a pass, and what the rows of the calling thread see of them.
struct AttentionRange {
  int begin, end;  ///< Keys that the block visits.
  int limit[2];    ///< The thread's two rows see the keys below. 0 for a row that is not there.
  int warp_limit;  ///< The largest limit of the warp.
  float scale_log2;
};

/// One pass. `query_at` gives row r of the block, `key_at` key j of K and of V, which are laid out alike.
/// Uses AttentionTiles<T, head_dim, warps>::bytes of shared memory from its start.
template <typename T, int head_dim, int warps, typename Context, typename QueryAt, typename KeyAt>
DROUGHT_DEVICE void attend(Context& context, const typename Context::template Global<const T>& q,
                           const typename Context::template Global<const T>& k,
                           const typename Context::template Global<const T>& v, QueryAt query_at,
                           KeyAt key_at, const AttentionRange& range, AttentionSums<head_dim>& sums) {
  using Tiles = AttentionTiles<T, head_dim, warps>;
  constexpr int keys = Tiles::keys, threads = Tiles::threads;
  const Tile<T> queries{context.template shared<T>(Tiles::query_offset, Tiles::rows * Tiles::key_pitch),
                        Tiles::key_pitch};
  const Tile<T> key_tile{context.template shared<T>(Tiles::key_offset, keys * Tiles::key_pitch),
                         Tiles::key_pitch};
  const Tile<T> values{context.template shared<T>(Tiles::value_offset, keys * Tiles::value_pitch),
                       Tiles::value_pitch};
  const Tile<T> all_weights{
      context.template shared<T>(Tiles::weight_offset, Tiles::rows * Tiles::weight_pitch),
      Tiles::weight_pitch};
  const int first_row = context.warp() * tile_rows;
  const Tile<T> weights{all_weights.data + first_row * Tiles::weight_pitch, Tiles::weight_pitch};
  const Tile<const T> own_queries{queries.data + first_row * Tiles::key_pitch, Tiles::key_pitch};
  const auto from = [&](int first) {
    return [&, first](int row) {
      const int key = first + row;
      return GlobalRow{key < range.end ? key_at(key) : 0, key < range.end};
    };
  };

  DROUGHT_UNROLL
  for (int t = 0; t < Fragment<head_dim + 8>::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) sums.out.value[t][e] = 0.0f;
  }
  sums.largest[0] = sums.largest[1] = negative_infinity();
  set_columns<keys, head_dim, 8, threads>(context, values, 1.0f);
  if constexpr (Tiles::depth != head_dim) {
    set_columns<Tiles::rows, head_dim, Tiles::depth - head_dim, threads>(context, queries, 0.0f);
    set_columns<keys, head_dim, Tiles::depth - head_dim, threads>(context, key_tile, 0.0f);
  }
  copy_rows<head_dim, Tiles::rows, threads>(context, queries, q, query_at);
  copy_rows<head_dim, keys, threads>(context, key_tile, k, from(range.begin));
  context.commit();
  for (int first = range.begin; first < range.end; first += keys) {
    const bool warp_sees = first < range.warp_limit;
    copy_rows<head_dim, keys, threads>(context, values, v, from(first));
    context.commit();
    context.template wait<1>();
    context.sync();  // Queries and keys are there.
    Fragment<keys> scores{};
    if (warp_sees)
      context.template multiply_by_transposed<Tiles::depth>(scores, own_queries,
                                                            Tile<const T>{key_tile.data, key_tile.pitch});
    context.sync();  // Nobody reads these keys any more.
    if (first + keys < range.end)
      copy_rows<head_dim, keys, threads>(context, key_tile, k, from(first + keys));
    context.commit();
    if (warp_sees)
      weigh<head_dim, keys>(context, scores, sums, weights, first, range.limit, range.scale_log2);
    context.template wait<1>();
    context.sync();  // Values and weights are there.
    if (warp_sees)
      context.template multiply_by<keys>(sums.out, Tile<const T>{weights.data, weights.pitch},
                                         Tile<const T>{values.data, values.pitch});
    context.sync();  // Nobody reads these values any more.
  }
  context.template wait<0>();
}

}  // namespace drought
