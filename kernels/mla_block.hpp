// Decode attention over a latent cache (multi-head latent attention, DeepSeek-V2 2024): all query heads share
// one row of 576 elements a token, of which 512 are the latent and 64 carry the position, and V is the latent
// itself. A tile is therefore brought once and serves both products. A block is four warps, 16 heads: each
// warp has 128 columns of the output, and the scores are shared out over them.
#pragma once

#include "kernels/decode_block.hpp"

namespace drought {

template <typename T>
struct MlaTiles {
  static constexpr int key_dim = 576, value_dim = 512, warps = 4, columns = value_dim / warps;
  // 32-bit rows are half as many, so that a block stays within the 99 KiB of most chips.
  static constexpr int keys = sizeof(T) == 4 ? 16 : 32;
  static constexpr int pitch = key_dim + 8, score_pitch = keys + 8, ones_pitch = 16;
  static constexpr std::size_t query_offset = 0;
  static constexpr std::size_t key_offset = query_offset + sizeof(T) * tile_rows * pitch;
  static constexpr std::size_t ones_offset = key_offset + sizeof(T) * keys * pitch;
  static constexpr std::size_t weight_offset = ones_offset + sizeof(T) * keys * ones_pitch;
  static constexpr std::size_t score_offset = weight_offset + sizeof(T) * warps * tile_rows * score_pitch;
  static constexpr std::size_t bytes = score_offset + sizeof(float) * tile_rows * score_pitch;
};

template <typename T>
struct MlaBlock {
  using Arguments = DecodeArguments;
  using Tiles = MlaTiles<T>;
  using Scores = Fragment<Tiles::keys>;
  static constexpr int threads = Tiles::warps * warp_lanes;
  static constexpr unsigned threads_max = threads;
  static constexpr DecodeTypes types{NumberTraits<T>::name, NumberTraits<T>::name, Tiles::key_dim,
                                     Tiles::value_dim};

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const int first_row = static_cast<int>(context.block().z) * tile_rows;
    for_each_piece(context, given,
                   [&](const DecodePiece& piece) { attend(context, given, piece, first_row); });
  }

 private:
  /// What a warp has of the heads: its columns of the output, the sum of the weights in every column of
  /// `weights`, and the largest score.
  struct Sums {
    Fragment<Tiles::columns> out{};
    Fragment<8> weights{};
    float largest[2] = {negative_infinity(), negative_infinity()};
  };

  template <typename Context>
  DROUGHT_DEVICE static void attend(Context& context, const Arguments& given, const DecodePiece& piece,
                                    int first_row) {
    const auto tile_at = [&](std::size_t offset, int rows, int pitch) {
      return Tile<T>{context.template shared<T>(offset, static_cast<std::size_t>(rows * pitch)), pitch};
    };
    const Tile<T> queries = tile_at(Tiles::query_offset, tile_rows, Tiles::pitch);
    const Tile<T> keys = tile_at(Tiles::key_offset, Tiles::keys, Tiles::pitch);
    const Tile<T> ones = tile_at(Tiles::ones_offset, Tiles::keys, Tiles::ones_pitch);
    const Tile<T> weights =
        tile_at(Tiles::weight_offset +
                    sizeof(T) * static_cast<std::size_t>(context.warp() * tile_rows * Tiles::score_pitch),
                tile_rows, Tiles::score_pitch);
    const int batch = piece.unit, heads = given.heads - first_row;
    const auto query_at = [&](int row) {
      const int head = batch * given.heads + first_row + row;
      return GlobalRow{row < heads ? static_cast<std::size_t>(head) * Tiles::key_dim : 0, row < heads};
    };
    Sums sums;
    copy_rows<Tiles::key_dim, tile_rows, threads>(context, queries,
                                                  context.global(static_cast<const T*>(given.q)), query_at);
    set_columns<Tiles::keys, 0, 8, threads>(context, ones, 1.0f);
    for (int first = piece.begin; first < piece.end; first += Tiles::keys) {
      copy_rows<Tiles::key_dim, Tiles::keys, threads>(
          context, keys, context.global(static_cast<const T*>(given.k)), [&](int row) {
            const bool valid = first + row < piece.end;
            return GlobalRow{valid ? decode_row(context, given, batch, 0, first + row) * Tiles::key_dim : 0,
                             valid};
          });
      context.commit();
      context.template wait<0>();
      context.sync();  // Queries and keys are there.
      share_scores(context, queries, keys);
      context.sync();  // The scores are there.
      weigh(context, given, piece, first, heads, sums, weights);
      context.sync_warp();
      const Tile<const T> own{weights.data, weights.pitch};
      context.template multiply_by<Tiles::keys>(
          sums.out, own, Tile<const T>{keys.data + context.warp() * Tiles::columns, keys.pitch});
      context.template multiply_by<Tiles::keys>(sums.weights, own, Tile<const T>{ones.data, ones.pitch});
      context.sync();  // Nobody reads these keys or scores any more.
    }
    context.commit();  // The queries', where there is no key.
    context.template wait<0>();
    context.sync();
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      if (Scores::row(context.lane(), e) < heads) leave(context, given, piece, first_row, sums, e);
  }

  template <typename Context>
  DROUGHT_DEVICE static float* shared_scores(Context& context) {
    return context.template shared<float>(Tiles::score_offset, tile_rows * Tiles::score_pitch);
  }

  /// Eight keys a warp.
  template <typename Context>
  DROUGHT_DEVICE static void share_scores(Context& context, Tile<T> queries, Tile<T> keys) {
    const int first = context.warp() * 8;
    if (first >= Tiles::keys) return;
    Fragment<8> own{};
    context.template multiply_by_transposed<Tiles::key_dim>(
        own, Tile<const T>{queries.data, queries.pitch},
        Tile<const T>{keys.data + first * keys.pitch, keys.pitch});
    float* const to = shared_scores(context);
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      to[Fragment<8>::row(context.lane(), e) * Tiles::score_pitch + first +
         Fragment<8>::column(context.lane(), 0, e)] = own.value[0][e];
  }

  template <typename Context>
  DROUGHT_DEVICE static void weigh(Context& context, const Arguments& given, const DecodePiece& piece,
                                   int first, int heads, Sums& sums, Tile<T> weights) {
    const int lane = context.lane();
    const float* const from = shared_scores(context);
    Scores scores;
    DROUGHT_UNROLL
    for (int t = 0; t < Scores::tiles; ++t) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = Scores::row(lane, e), column = Scores::column(lane, t, e);
        const bool visible = first + column < piece.end && row < heads;
        scores.value[t][e] = decode_score(from[row * Tiles::score_pitch + column], visible, given);
      }
    }
    float rescale[2];
    softmax_step(context, scores, weights, sums.largest, rescale);
    scale_rows(sums.weights, rescale);
    scale_rows(sums.out, rescale);
  }

  /// Writes what the thread has of one row, as DecodeBlock does.
  template <typename Context>
  DROUGHT_DEVICE static void leave(Context& context, const Arguments& given, const DecodePiece& piece,
                                   int first_row, const Sums& sums, int element) {
    const auto heads = static_cast<std::size_t>(given.heads);
    const auto row = static_cast<std::size_t>(first_row + Scores::row(context.lane(), element));
    const std::size_t head = static_cast<std::size_t>(piece.unit) * heads + row;
    const std::size_t slot_head = static_cast<std::size_t>(piece.slot) * heads + row;
    const float weights = sums.weights.value[0][element], largest = sums.largest[element / 2];
    const DecodeShare share = DecodeShare::of_row(context, given, piece, head, largest, weights);
    const bool is_whole = piece.slots.count == 1;
    const auto out = context.global(static_cast<T*>(given.out));
    const auto split_out = context.global(given.split_out);
    DROUGHT_UNROLL
    for (int t = 0; t < Tiles::columns / 8; ++t) {
      const auto column = static_cast<std::size_t>(context.warp() * Tiles::columns +
                                                   Scores::column(context.lane(), t, element));
      const float value = share.of(sums.out.value[t][element]);
      if (is_whole) {
        out[head * Tiles::value_dim + column] = from_float<T>(value);
      } else {
        split_out[slot_head * Tiles::value_dim + column] = value;
      }
    }
    if (is_whole || element % 2 != 0 || context.lane() % 4 != 0 || context.warp() != 0) return;
    context.global(given.split_lse)[slot_head] =
        weights == 0.0f ? negative_infinity() : largest + log2_of(weights);
  }
};

}  // namespace drought
