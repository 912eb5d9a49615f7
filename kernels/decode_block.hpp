// Decode attention as every chip runs it: a block is one warp, whose rows are the query heads that share a KV
// head. Rows of a quantised cache are widened to floats as they come, so that nothing but the output is
// rounded; plain ones stay what they are and arrive by asynchronous copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/tile.hpp"
#include "kernels/attention.hpp"
#include "kernels/decode_pieces.hpp"
#include "kernels/kv_cache.hpp"

namespace drought {

/// Where the tiles lie in shared memory. As in AttentionTiles, rows are padded against bank conflicts and V
/// has eight columns of ones.
template <typename Number, int key_dim, int value_dim>
struct DecodeTiles {
  static constexpr int keys = sizeof(Number) == 4 && key_dim > 80 ? 32 : 64;
  static constexpr int depth = (key_dim + 15) / 16 * 16;
  static constexpr int key_pitch = depth + 8, value_pitch = value_dim + 8, weight_pitch = keys + 8;
  static constexpr std::size_t query_offset = 0;
  static constexpr std::size_t key_offset = query_offset + sizeof(Number) * tile_rows * key_pitch;
  static constexpr std::size_t value_offset = key_offset + sizeof(Number) * keys * key_pitch;
  static constexpr std::size_t weight_offset = value_offset + sizeof(Number) * keys * value_pitch;
  static constexpr std::size_t bytes = weight_offset + sizeof(Number) * tile_rows * weight_pitch;
};

inline constexpr float log2e = 1.44269504f;

/// c tanh(s / c) of a score and a cap in base 2, by an exponential that cannot overflow.
DROUGHT_ANYWHERE float capped(float score, float cap) {
  const float size = score < 0 ? -score : score;
  const float power = exp2_of(-2.0f * log2e * (size / cap));
  const float squeezed = cap * ((1.0f - power) / (1.0f + power));
  return score < 0 ? -squeezed : squeezed;
}

/// A score in base 2, and of a key that is not seen none.
DROUGHT_ANYWHERE float decode_score(float product, bool visible, const DecodeArguments& given) {
  if (!visible) return negative_infinity();
  const float score = product * given.scale_log2;
  return given.softcap_log2 == 0.0f ? score : capped(score, given.softcap_log2);
}

/// What a row's sums of weighed values become: out of a whole unit the output, out of a piece its share.
struct DecodeShare {
  float factor, total;
  DROUGHT_ANYWHERE float of(float sum) const { return sum * factor / total; }

  template <typename Context>
  DROUGHT_DEVICE static DecodeShare of_row(Context& context, const DecodeArguments& given,
                                           const DecodePiece& piece, std::size_t head, float largest,
                                           float weights) {
    if (weights == 0.0f) return {0.0f, 1.0f};  // No key was seen.
    if (piece.slots.count != 1 || !given.sinks) return {1.0f, weights};
    const float sink = context.global(given.sinks)[head % static_cast<std::size_t>(given.heads)] * log2e;
    const float base = largest < sink ? sink : largest;
    const float factor = exp2_of(largest - base);
    return {factor, weights * factor + exp2_of(sink - base)};
  }
};

/// The row of a key in the pool.
template <typename Context>
DROUGHT_DEVICE std::size_t decode_row(Context& context, const DecodeArguments& given, int batch, int kv_head,
                                      int key) {
  const auto page_table = context.global(given.page_table);
  const std::size_t entry = static_cast<std::size_t>(batch) * static_cast<std::size_t>(given.table_width) +
                            static_cast<std::size_t>(key / given.page_size);
  const std::size_t slot =
      static_cast<std::size_t>(page_table[entry]) * static_cast<std::size_t>(given.page_size) +
      static_cast<std::size_t>(key % given.page_size);
  return slot * static_cast<std::size_t>(given.kv_heads) + static_cast<std::size_t>(kv_head);
}

/// What a variant is compiled for, by name.
struct DecodeTypes {
  std::string_view type, cache;
  std::size_t key_dim, value_dim;
  friend bool operator==(const DecodeTypes&, const DecodeTypes&) = default;
};

template <typename T, typename Rows, int key_dim, int value_dim = key_dim>
struct DecodeBlock {
  static constexpr unsigned threads_max = warp_lanes;
  static constexpr bool is_plain = Rows::type.is_plain;
  using Arguments = DecodeArguments;
  using Number = std::conditional_t<is_plain, T, float>;
  using Tiles = DecodeTiles<Number, key_dim, value_dim>;
  using Scores = Fragment<Tiles::keys>;
  using Sums = AttentionSums<value_dim>;
  static_assert(!is_plain || std::is_same_v<Rows, PlainRows<T>>);
  static constexpr DecodeTypes types{NumberTraits<T>::name, Rows::type.name, key_dim, value_dim};

  /// The piece, and which of the heads this block has.
  struct Place {
    DecodePiece piece;
    int batch, kv_head, first_row;
    int first_head, group;  // Of the KV head; first_head over the whole batch.
    std::size_t slot_head;  // The first head's place in the workspace.
  };

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const int groups = given.kv_heads / given.heads_at_once, group = given.heads / given.kv_heads;
    const int within = static_cast<int>(context.block().y);
    for_each_piece(context, given, [&](const DecodePiece& piece) {
      const int kv_head = (piece.unit - piece.batch * groups) * given.heads_at_once + within;
      const std::size_t slot_head =
          (static_cast<std::size_t>(piece.slot) * static_cast<std::size_t>(given.heads_at_once) +
           static_cast<std::size_t>(within)) *
          static_cast<std::size_t>(group);
      const int first_head = piece.batch * given.heads + kv_head * group;
      attend(context, given,
             {piece, piece.batch, kv_head, static_cast<int>(context.block().z) * tile_rows, first_head, group,
              slot_head});
    });
  }

 private:
  template <typename Context>
  struct Memory {
    Tile<Number> queries, keys, values, weights;

    DROUGHT_DEVICE explicit Memory(Context& context)
        : queries{context.template shared<Number>(Tiles::query_offset, tile_rows * Tiles::key_pitch),
                  Tiles::key_pitch},
          keys{context.template shared<Number>(Tiles::key_offset, Tiles::keys * Tiles::key_pitch),
               Tiles::key_pitch},
          values{context.template shared<Number>(Tiles::value_offset, Tiles::keys * Tiles::value_pitch),
                 Tiles::value_pitch},
          weights{context.template shared<Number>(Tiles::weight_offset, tile_rows * Tiles::weight_pitch),
                  Tiles::weight_pitch} {}
  };
  template <typename U>
  DROUGHT_DEVICE static Tile<const U> read_only(Tile<U> tile) {
    return {tile.data, tile.pitch};
  }

  /// Brings the rows of the keys from `first` on, and zeros for those from the piece's end on.
  template <int dim, typename Context>
  DROUGHT_DEVICE static void bring(Context& context, const Arguments& given, const Place& at, int first,
                                   bool is_keys, Tile<Number> to) {
    const void* const from = is_keys ? given.k : given.v;
    const auto valid = [&](int row) { return first + row < at.piece.end; };
    if constexpr (is_plain) {
      copy_rows<dim, Tiles::keys, warp_lanes>(
          context, to, context.global(static_cast<const T*>(from)), [&](int row) {
            return GlobalRow{
                valid(row) ? decode_row(context, given, at.batch, at.kv_head, first + row) * dim : 0,
                valid(row)};
          });
    } else {
      const auto bytes = context.global(static_cast<const std::uint8_t*>(from));
      const auto scales = context.global(is_keys ? given.k_scales : given.v_scales);
      constexpr std::size_t row_bytes = Rows::type.row_bytes(dim);
      for (int row = context.lane(); row < Tiles::keys; row += warp_lanes) {
        const std::size_t place =
            valid(row) ? decode_row(context, given, at.batch, at.kv_head, first + row) : 0;
        float scale = is_keys ? given.k_scale : given.v_scale;
        if constexpr (Rows::type.row_scales) scale = valid(row) ? scales[place] : 0.0f;
        for (int i = 0; i < dim; ++i)
          to.data[row * to.pitch + i] = valid(row) ? Rows::at(bytes, place * row_bytes, i) * scale : 0.0f;
      }
    }
  }

  template <typename Context>
  DROUGHT_DEVICE static void bring_queries(Context& context, const Arguments& given, const Place& at,
                                           Tile<Number> to) {
    const auto q = context.global(static_cast<const T*>(given.q));
    for (int i = context.lane(); i < tile_rows * key_dim; i += warp_lanes) {
      const int row = i / key_dim, column = i % key_dim;
      const std::size_t head = static_cast<std::size_t>(at.first_head + at.first_row + row);
      const bool valid = at.first_row + row < at.group;
      to.data[row * to.pitch + column] =
          valid ? from_float<Number>(to_float(q[head * key_dim + static_cast<std::size_t>(column)]))
                : from_float<Number>(0.0f);
    }
  }

  template <typename Context>
  DROUGHT_DEVICE static void attend(Context& context, const Arguments& given, const Place& at) {
    const Memory<Context> memory(context);
    const DecodePiece& piece = at.piece;
    Sums sums;
    DROUGHT_UNROLL
    for (int t = 0; t < value_dim / 8 + 1; ++t) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) sums.out.value[t][e] = 0.0f;
    }
    sums.largest[0] = sums.largest[1] = negative_infinity();
    set_columns<Tiles::keys, value_dim, 8, warp_lanes>(context, memory.values, 1.0f);
    if constexpr (Tiles::depth != key_dim) {
      set_columns<tile_rows, key_dim, Tiles::depth - key_dim, warp_lanes>(context, memory.queries, 0.0f);
      set_columns<Tiles::keys, key_dim, Tiles::depth - key_dim, warp_lanes>(context, memory.keys, 0.0f);
    }
    bring_queries(context, given, at, memory.queries);
    bring<key_dim>(context, given, at, piece.begin, true, memory.keys);
    context.commit();
    for (int first = piece.begin; first < piece.end; first += Tiles::keys) {
      bring<value_dim>(context, given, at, first, false, memory.values);
      context.commit();
      context.template wait<1>();
      context.sync();  // Queries and keys are there.
      Scores scores{};
      context.template multiply_by_transposed<Tiles::depth>(scores, read_only(memory.queries),
                                                            read_only(memory.keys));
      context.sync();  // Nobody reads these keys any more.
      if (first + Tiles::keys < piece.end)
        bring<key_dim>(context, given, at, first + Tiles::keys, true, memory.keys);
      context.commit();
      weigh(context, given, at, first, scores, sums, memory.weights);
      context.template wait<1>();
      context.sync();  // Values and weights are there.
      context.template multiply_by<Tiles::keys>(sums.out, read_only(memory.weights),
                                                read_only(memory.values));
      context.sync();  // Nobody reads these values any more.
    }
    context.template wait<0>();
    context.sync();
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      if (at.first_row + Scores::row(context.lane(), e) < at.group) leave(context, given, at, sums, e);
  }

  /// Turns scores into weights relative to the row's largest so far and rescales what is there for it.
  template <typename Context>
  DROUGHT_DEVICE static void weigh(Context& context, const Arguments& given, const Place& at, int first,
                                   Scores& scores, Sums& sums, Tile<Number> weights) {
    DROUGHT_UNROLL
    for (int t = 0; t < Scores::tiles; ++t) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) {
        const bool visible = first + Scores::column(context.lane(), t, e) < at.piece.end &&
                             at.first_row + Scores::row(context.lane(), e) < at.group;
        scores.value[t][e] = decode_score(scores.value[t][e], visible, given);
      }
    }
    float rescale[2];
    softmax_step(context, scores, weights, sums.largest, rescale);
    scale_rows(sums.out, rescale);
  }

  /// Writes what the thread has of one row: as the output, or as one piece's share of it.
  template <typename Context>
  DROUGHT_DEVICE static void leave(Context& context, const Arguments& given, const Place& at,
                                   const Sums& sums, int element) {
    const int row = at.first_row + Scores::row(context.lane(), element);
    const std::size_t head = static_cast<std::size_t>(at.first_head + row);
    const std::size_t slot_head = at.slot_head + static_cast<std::size_t>(row);
    const auto out = context.global(static_cast<T*>(given.out));
    const auto split_out = context.global(given.split_out);
    const float weights = sums.weight_sum(element), largest = sums.largest[element / 2];
    const bool is_whole = at.piece.slots.count == 1;
    const DecodeShare share = DecodeShare::of_row(context, given, at.piece, head, largest, weights);
    DROUGHT_UNROLL
    for (int t = 0; t < value_dim / 8; ++t) {
      const auto column = static_cast<std::size_t>(Scores::column(context.lane(), t, element));
      const float value = share.of(sums.out.value[t][element]);
      if (is_whole) {
        out[head * value_dim + column] = from_float<T>(value);
      } else {
        split_out[slot_head * value_dim + column] = value;
      }
    }
    if (is_whole || element % 2 != 0 || context.lane() % 4 != 0) return;
    context.global(given.split_lse)[slot_head] =
        weights == 0.0f ? negative_infinity() : largest + log2_of(weights);
  }
};

}  // namespace drought
