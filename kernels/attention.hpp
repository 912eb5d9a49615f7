// The pass that every attention kernel here makes: a block of warps holds 16 query rows a warp and walks over
// the keys in tiles, with the softmax rescaled as it goes (Milakov and Gimelshein 2018; Dao et al. 2022). K
// and V tiles arrive by asynchronous copies; the next K tile is under way while the softmax runs, the V tile
// while the scores are computed.
//
// V's tile has eight more columns of ones. The sum of the weights is thus made by the same products in the
// same order as the output, so that it needs no reduction, and a V of ones gives exactly one in any type.
// Rows that are not there are zeros, and whatever lies in memory in their place is never read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/config.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"
#include "kernels/softmax_step.hpp"

namespace drought {

/// Where the tiles of a block lie in shared memory. Rows are eight elements longer than they need be, so that
/// the eight rows that ldmatrix reads at once lie in different banks.
template <typename T, int head_dim, int warps, int value_dim = head_dim>
struct AttentionTiles {
  // The longest tile that leaves a block within the 99 KiB of the chips with the least shared memory.
  static constexpr int keys = 64 >> ((sizeof(T) * head_dim > 320) + (sizeof(T) * head_dim > 512));
  static constexpr int rows = warps * tile_rows;
  static constexpr int threads = warps * warp_lanes;
  static constexpr int depth = (head_dim + 15) / 16 * 16;  // What mma.sync takes; zeros past head_dim.
  static constexpr int key_pitch = depth + 8;
  static constexpr int value_pitch = value_dim + 8;  // These eight are the ones.
  static constexpr int weight_pitch = keys + 8;

  static constexpr std::size_t query_offset = 0;
  static constexpr std::size_t key_offset = query_offset + sizeof(T) * rows * key_pitch;
  static constexpr std::size_t value_offset = key_offset + sizeof(T) * keys * key_pitch;
  static constexpr std::size_t weight_offset = value_offset + sizeof(T) * keys * value_pitch;
  static constexpr std::size_t bytes = weight_offset + sizeof(T) * rows * weight_pitch;
  static_assert(bytes <= 99 * 1024 && value_dim <= head_dim);
};

/// A row in global memory: its first element, and whether it is there.
struct GlobalRow {
  std::size_t start;
  bool valid;
};

/// Sixteen bytes of elements, as many as a thread reads or writes at once.
struct __attribute__((may_alias)) AttentionPiece {
  std::uint32_t word[4];
};

/// What one thread has when a pass ends: its share of the weighted sums of V, in whose last tile every
/// element is its row's sum of weights, and the largest score (times scale_log2) of its two rows.
template <int value_dim>
struct AttentionSums {
  Fragment<value_dim + 8> out;
  float largest[2];

  DROUGHT_ANYWHERE float weight_sum(int element) const { return out.value[value_dim / 8][element]; }
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

/// The keys of a pass, and what the rows of the calling thread see of them.
struct AttentionRange {
  int begin, end;         ///< Keys that the block visits.
  int first[2] = {0, 0};  ///< The thread's two rows see the keys from here
  int limit[2];           ///< to here. 0 for a row that is not there.
  int warp_first = 0;     ///< The smallest first of the warp.
  int warp_limit;         ///< The largest limit of the warp.
  int all_first = 0;      ///< The largest first of the warp's rows that are there.
  int all_limit;          ///< The smallest limit of them.
  float scale_log2;
  float softcap_log2 = 0;  ///< Scores, as base-2 exponents, are squeezed below it; 0: they are not.
  float sink_log2 = negative_infinity();  ///< The base-2 exponent of a weight without a value.
};

/// softcap * tanh(score / softcap), all as base-2 exponents.
DROUGHT_ANYWHERE float squeezed(float score, float softcap) {
  const float doubled = score * (2 * 1.44269504f / softcap);
  return softcap - 2 * softcap / (exp2_of(doubled > 64.0f ? 64.0f : doubled) + 1.0f);
}

/// Turns scores into weights relative to the row's largest so far and rescales what is there for a larger
/// one. Keys that a row does not see weigh nothing.
template <int value_dim, int keys, typename T, typename Context>
DROUGHT_DEVICE void weigh(Context& context, Fragment<keys>& scores, AttentionSums<value_dim>& sums,
                          Tile<T> weights, int first_key, const AttentionRange& range) {
  using Scores = Fragment<keys>;
  const float scale = range.softcap_log2 != 0.0f ? 1.0f : range.scale_log2;
  if (range.softcap_log2 != 0.0f) {
    DROUGHT_UNROLL
    for (int t = 0; t < Scores::tiles; ++t) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e)
        scores.value[t][e] = squeezed(scores.value[t][e] * range.scale_log2, range.softcap_log2);
    }
  }
  DROUGHT_UNROLL
  for (int t = 0; t < Scores::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int key = first_key + Scores::column(context.lane(), t, e);
      const bool visible = key >= range.first[e / 2] && key < range.limit[e / 2];
      scores.value[t][e] = visible ? scores.value[t][e] * scale : negative_infinity();
    }
  }
  float rescale[2];
  softmax_step(context, scores, weights, sums.largest, rescale);
  scale_rows(sums.out, rescale);
}

/// Whether no value of a tile is NaN or infinite.
template <int value_dim, int keys, typename T, typename Context>
DROUGHT_DEVICE bool is_finite(Context& context, Tile<T> values) {
  constexpr int elements = sizeof(AttentionPiece) / sizeof(T), pieces = value_dim / elements;
  struct Elements {
    T value[elements];
  };
  float zeros[1] = {0.0f};
  for (int i = context.lane(); i < keys * pieces; i += warp_lanes) {
    const T* const from = values.data + i / pieces * values.pitch + i % pieces * elements;
    const auto read = std::bit_cast<Elements>(*reinterpret_cast<const AttentionPiece*>(from));
    DROUGHT_UNROLL
    for (int e = 0; e < elements; ++e) zeros[0] += to_float(read.value[e]) * 0.0f;
  }
  context.template reduce_sum<warp_lanes>(zeros);
  return zeros[0] == 0.0f;
}

/// Adds the weighed values of a tile that not all rows see and that are not all finite: no weight, not even
/// none, makes 0 of NaN, so what a row does not see must not be multiplied.
template <int value_dim, int keys, typename T, typename Context>
DROUGHT_DEVICE void add_seen(Context& context, AttentionSums<value_dim>& sums, Tile<T> weights,
                             Tile<T> values, int first_key, const AttentionRange& range) {
  using Sums = Fragment<value_dim + 8>;
  for (int key = 0; key < keys; ++key) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) {
      if (first_key + key < range.first[e / 2] || first_key + key >= range.limit[e / 2]) continue;
      const float weight = to_float(weights.data[Sums::row(context.lane(), e) * weights.pitch + key]);
      DROUGHT_UNROLL
      for (int t = 0; t < Sums::tiles; ++t)
        sums.out.value[t][e] +=
            weight * to_float(values.data[key * values.pitch + Sums::column(context.lane(), t, e)]);
    }
  }
}

/// One pass. `query_at` gives row r of the block, `key_at` where key j begins in K. Rows of V follow each
/// other as those of K do, with value_dim elements in place of head_dim. Uses AttentionTiles<T, head_dim,
/// warps, value_dim>::bytes of shared memory from its start.
template <typename T, int head_dim, int warps, int value_dim = head_dim, typename Context, typename QueryAt,
          typename KeyAt>
DROUGHT_DEVICE void attend(Context& context, const typename Context::template Global<const T>& q,
                           const typename Context::template Global<const T>& k,
                           const typename Context::template Global<const T>& v, QueryAt query_at,
                           KeyAt key_at, const AttentionRange& range, AttentionSums<value_dim>& sums) {
  using Tiles = AttentionTiles<T, head_dim, warps, value_dim>;
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
  const auto keys_from = [&](int first) {
    return [&, first](int row) {
      const int key = first + row;
      return GlobalRow{key < range.end ? key_at(key) : 0, key < range.end};
    };
  };
  const auto values_from = [&](int first) {
    return [&, first](int row) {
      const GlobalRow key = keys_from(first)(row);
      return GlobalRow{key.start / head_dim * value_dim, key.valid};
    };
  };

  const bool sinks = range.sink_log2 != negative_infinity();
  DROUGHT_UNROLL
  for (int t = 0; t < Fragment<value_dim + 8>::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) sums.out.value[t][e] = sinks && t == value_dim / 8 ? 1.0f : 0.0f;
  }
  sums.largest[0] = sums.largest[1] = range.sink_log2;
  set_columns<keys, value_dim, 8, threads>(context, values, 1.0f);
  if constexpr (Tiles::depth != head_dim) {
    set_columns<Tiles::rows, head_dim, Tiles::depth - head_dim, threads>(context, queries, 0.0f);
    set_columns<keys, head_dim, Tiles::depth - head_dim, threads>(context, key_tile, 0.0f);
  }
  copy_rows<head_dim, Tiles::rows, threads>(context, queries, q, query_at);
  copy_rows<head_dim, keys, threads>(context, key_tile, k, keys_from(range.begin));
  context.commit();
  for (int first = range.begin; first < range.end; first += keys) {
    const bool warp_sees = first < range.warp_limit && first + keys > range.warp_first;
    copy_rows<value_dim, keys, threads>(context, values, v, values_from(first));
    context.commit();
    context.template wait<1>();
    context.sync();  // Queries and keys are there.
    Fragment<keys> scores{};
    if (warp_sees)
      context.template multiply_by_transposed<Tiles::depth>(scores, own_queries,
                                                            Tile<const T>{key_tile.data, key_tile.pitch});
    context.sync();  // Nobody reads these keys any more.
    if (first + keys < range.end)
      copy_rows<head_dim, keys, threads>(context, key_tile, k, keys_from(first + keys));
    context.commit();
    if (warp_sees) weigh<value_dim, keys>(context, scores, sums, weights, first, range);
    context.template wait<1>();
    context.sync();  // Values and weights are there.
    const int end = first + keys < range.end ? first + keys : range.end;
    const bool all_see = first >= range.all_first && end <= range.all_limit;
    if (warp_sees && (all_see || is_finite<value_dim, keys>(context, values))) {
      context.template multiply_by<keys>(sums.out, Tile<const T>{weights.data, weights.pitch},
                                         Tile<const T>{values.data, values.pitch});
    } else if (warp_sees) {
      add_seen<value_dim, keys>(context, sums, weights, values, first, range);
    }
    context.sync();  // Nobody reads these values any more.
  }
  context.template wait<0>();
  if (range.begin >= range.end) context.sync();  // Nobody's copies of queries are under way any more.
}

/// Writes a warp's share of the output, `row_at` giving row r of the block, by way of its own queries' place
/// in shared memory, so that whole rows travel.
template <typename T, int head_dim, int warps, int value_dim, typename Context, typename RowAt>
DROUGHT_DEVICE void write_rows(Context& context, const AttentionSums<value_dim>& sums, T* out, RowAt row_at) {
  using Tiles = AttentionTiles<T, head_dim, warps, value_dim>;
  constexpr int elements = sizeof(AttentionPiece) / sizeof(T), pieces = value_dim / elements;
  const int first_row = context.warp() * tile_rows, lane = context.lane();
  T* const rows = context.template shared<T>(Tiles::query_offset, Tiles::rows * Tiles::key_pitch) +
                  first_row * Tiles::key_pitch;
  DROUGHT_UNROLL
  for (int t = 0; t < value_dim / 8; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      rows[Fragment<value_dim>::row(lane, e) * Tiles::key_pitch + Fragment<value_dim>::column(lane, t, e)] =
          from_float<T>(sums.normalized(t, e));
  }
  context.sync_warp();
  const auto to = context.global(reinterpret_cast<AttentionPiece*>(out));
  for (int i = lane; i < tile_rows * pieces; i += warp_lanes) {
    const int row = i / pieces, piece = i % pieces;
    const GlobalRow at = row_at(first_row + row);
    if (at.valid)
      to[at.start / elements + static_cast<std::size_t>(piece)] =
          *reinterpret_cast<const AttentionPiece*>(rows + row * Tiles::key_pitch + piece * elements);
  }
}

}  // namespace drought
