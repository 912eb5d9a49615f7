// Prefill attention in bf16 as Hopper wants it (FlashAttention-3, Shah et al. 2024): one warpgroup brings
// tiles of K and V by the tensor memory accelerator, the others hold 64 queries each. They take turns at the
// tensor cores, so that one's softmax hides behind another's products, and inside each the scores of one
// tile are multiplied while the values of the tile before are. Blocks are persistent; where tiles differ in
// work they are drawn from a counter, the longest first, from as many heads at a time as fit the L2 cache.
// Sequences that are one tile are bound by memory: two blocks a multiprocessor, of which each brings a tile
// while one warpgroup computes another and a third is stored. For nvcc alone.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "harness/simt/arithmetic.hpp"
#include "kernels/attention.hpp"
#include "kernels/sm90/multiply.hpp"
#include "kernels/sm90/prefill_producer.hpp"

namespace drought::sm90 {

/// One warpgroup that computes: 64 queries, their scores against one tile of keys, and their output so far.
template <typename Tiling>
struct PrefillConsumer {
  static constexpr int score_count = Tiling::keys / 2, out_count = Tiling::value_dim / 2;
  static constexpr bool windowed = Tiling::sight == Sight::window;

  const PrefillMaps& maps;
  const PrefillGrid& grid;
  const PrefillBlockMemory<Tiling>& memory;
  const int group;   // From 0.
  const int thread;  // Of the warpgroup.
  int used = 0;      // Tiles of K and V multiplied by V.
  int stored = -1;   // The stage that an output is being stored from.
  float scores[score_count], out[out_count];
  std::uint32_t weights[score_count / 2];
  float largest[2], sum[2], rescale[2];

  DROUGHT_DEVICE int row(int element) const {
    return thread / 32 * 16 + thread % 32 / 4 + element / 2 % 2 * 8;
  }
  DROUGHT_DEVICE int column(int element) const { return element / 4 * 8 + thread % 4 * 2 + element % 2; }

  DROUGHT_DEVICE void run() {
    // The first warpgroup begins: the last one's turn counts as over.
    if (Tiling::groups > 1 && group == Tiling::groups - 1) pass(1, 2 * warpgroup_threads);
    for (int turn = 0;; ++turn) {
      memory.notice_full(turn & 1).wait(turn / 2 & 1);
      const volatile PrefillNotice& tile = memory.notices[turn & 1];
      if (tile.head < 0) break;
      attend(tile, turn);
      memory.notice_empty(turn & 1).arrive();
    }
    if (thread == 0) wait_for_stores();
  }

  /// One tile, from its queries' arrival to its output's departure.
  DROUGHT_DEVICE void attend(const volatile PrefillNotice& tile, int turn) {
    const int stage = turn % Tiling::query_stages;
    const std::uint32_t queries = memory.queries(stage);
    begin_sums(tile);
    memory.queries_full(stage).wait(turn / Tiling::query_stages & 1);
    add_keys(tile, queries);
    hand_in(queries, tile, stage);
  }

 private:
  DROUGHT_DEVICE void begin_sums(const volatile PrefillNotice& tile) {
    largest[0] = largest[1] = negative_infinity();
    sum[0] = sum[1] = 0;
    if (!grid.sinks) return;
    largest[0] = largest[1] = grid.sinks[tile.head] * 1.44269504f / grid.scale_log2;
    sum[0] = sum[1] = thread % 4 == 0 ? 1.0f : 0.0f;  // Four threads share a row.
  }

  DROUGHT_DEVICE void add_keys(const volatile PrefillNotice& tile, std::uint32_t queries) {
    const int own = tile.own, first = tile.first_keys;
    int j = tile.end_keys - 1;
    memory.keys_full(used % Tiling::stages).wait(used / Tiling::stages & 1);
    multiply_keys(queries, used % Tiling::stages);
    if (Tiling::query_stages > 1) give_back();
    multiplies_end<0>(scores);
    if (thread == 0) memory.keys_empty(used % Tiling::stages).arrive();
    weigh<true>(own, tile.keys, j);
    round_weights();

    int accumulate = 0;
    --j;
    if constexpr (Tiling::sight == Sight::causal) {
      const int clear = (own + 1) / Tiling::keys;
      for (; j >= clear && j >= first; --j, accumulate = 1)
        step<true>(queries, own, tile.keys, j, accumulate);
    }
    for (; j >= first; --j, accumulate = 1)
      step<windowed>(queries, own, windowed ? tile.keys : 0, j, accumulate);

    const int last = used % Tiling::stages;
    memory.values_full(last).wait(used / Tiling::stages & 1);
    multiply_values(last, accumulate);
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r) {
      sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
      sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
      sum[r] = sum[r] == 0 ? 0 : 1 / sum[r];
    }
    multiplies_end<0>(out);
    if (thread == 0) memory.values_empty(last).arrive();
    ++used;
  }

  /// The scores of key tile j while the values of the tile after it are added.
  template <bool masked>
  DROUGHT_DEVICE void step(std::uint32_t queries, int own, int all_keys, int j, int accumulate) {
    const int keys = (used + 1) % Tiling::stages, values = used % Tiling::stages;
    memory.keys_full(keys).wait((used + 1) / Tiling::stages & 1);
    if constexpr (Tiling::groups > 1) meet(1 + group, 2 * warpgroup_threads);
    multiply_keys(queries, keys);
    memory.values_full(values).wait(used / Tiling::stages & 1);
    multiply_values(values, accumulate);
    if constexpr (Tiling::groups > 1) pass(1 + (group + 1) % Tiling::groups, 2 * warpgroup_threads);
    multiplies_end<1>(scores);
    if (thread == 0) memory.keys_empty(keys).arrive();
    weigh<masked>(own, all_keys, j);
    multiplies_end<0>(out);
    if (thread == 0) memory.values_empty(values).arrive();
    round_weights();
    DROUGHT_UNROLL
    for (int i = 0; i < out_count; ++i) out[i] *= rescale[i / 2 % 2];
    ++used;
  }

  DROUGHT_DEVICE void multiply_keys(std::uint32_t queries, int stage) {
    multiplies_begin();
    DROUGHT_UNROLL
    for (int k = 0; k < (Tiling::head_dim + 15) / 16; ++k) {
      const int in_row = k % 4 * 32;
      Multiply<Tiling::keys>::from_shared(
          scores,
          descriptor(queries + k / 4 * Tiling::query_chunk_bytes + group * 64 * swizzle_bytes + in_row),
          descriptor(memory.keys(stage) + k / 4 * Tiling::key_chunk_bytes + in_row), k > 0);
    }
    multiplies_issued();
  }

  DROUGHT_DEVICE void multiply_values(int stage, int accumulate) {
    multiplies_begin();
    DROUGHT_UNROLL
    for (int k = 0; k < Tiling::keys / 16; ++k)
      Multiply<Tiling::value_dim>::from_registers(
          out, weights + 4 * k,
          descriptor(memory.values(stage) + k * 16 * swizzle_bytes, Tiling::key_chunk_bytes),
          k > 0 || accumulate);
    multiplies_issued();
  }

  /// Scores of keys that a row does not see become -infinity. `own` belongs to the tile's first query, of the
  /// sequence's `all_keys`. Rows past the last query see what they like.
  DROUGHT_DEVICE void hide(int own, int all_keys, int j) {
    int first[2], end[2];  // Of what a row sees, counted from the thread's first column on.
    const int before = j * Tiling::keys + thread % 4 * 2;
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int of_row = own + group * 64 + row(2 * r);
      end[r] = (Tiling::sight == Sight::causal                   ? of_row + 1
                : windowed && grid.right < all_keys - 1 - of_row ? of_row + 1 + grid.right
                                                                 : all_keys) -
               before;
      first[r] = windowed ? of_row - grid.left - before : 0;
    }
    DROUGHT_UNROLL
    for (int i = 0; i < score_count; ++i) {
      const int column = i / 4 * 8 + i % 2, r = i / 2 % 2;
      if (column >= end[r] || (windowed && column < first[r])) scores[i] = negative_infinity();
    }
  }

  /// Whether a row of the tile does not see all of key tile j.
  DROUGHT_DEVICE bool hides(int own, int all_keys, int j) const {
    const int end = (j + 1) * Tiling::keys;
    return end > all_keys || own < end - 1 - grid.right ||
           j * Tiling::keys < own + Tiling::rows - 1 - grid.left;
  }

  /// Turns the scores of key tile j into weights relative to each row's largest so far.
  template <bool masked>
  DROUGHT_DEVICE void weigh(int own, int all_keys, int j) {
    if constexpr (windowed) {
      if (grid.softcap_log2 != 0) {
        DROUGHT_UNROLL
        for (int i = 0; i < score_count; ++i)
          scores[i] = squeezed(scores[i] * grid.score_scale_log2, grid.softcap_log2);
      }
      if (hides(own, all_keys, j)) hide(own, all_keys, j);
    } else if constexpr (masked) {
      hide(own, all_keys, j);
    }
    float found[2] = {largest[0], largest[1]}, base[2];
    DROUGHT_UNROLL
    for (int i = 0; i < score_count; ++i) found[i / 2 % 2] = fmaxf(found[i / 2 % 2], scores[i]);
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r) {
      found[r] = fmaxf(found[r], __shfl_xor_sync(~0u, found[r], 1));
      found[r] = fmaxf(found[r], __shfl_xor_sync(~0u, found[r], 2));
      base[r] = ((masked || windowed) && found[r] == negative_infinity() ? 0.0f : found[r]) * grid.scale_log2;
      rescale[r] = exp2_of(largest[r] * grid.scale_log2 - base[r]);
      largest[r] = found[r];
      sum[r] *= rescale[r];
    }
    DROUGHT_UNROLL
    for (int i = 0; i < score_count; ++i) {
      scores[i] = exp2_of(scores[i] * grid.scale_log2 - base[i / 2 % 2]);
      sum[i / 2 % 2] += scores[i];
    }
  }

  DROUGHT_DEVICE void round_weights() {
    DROUGHT_UNROLL
    for (int i = 0; i < score_count / 2; ++i) weights[i] = bf16_pair(scores[2 * i], scores[2 * i + 1]);
  }

  /// Writes the output over this warpgroup's queries, which nobody reads any more, and stores it from there.
  DROUGHT_DEVICE void hand_in(std::uint32_t queries, const volatile PrefillNotice& tile, int stage) {
    DROUGHT_UNROLL
    for (int i = 0; i < out_count; i += 8) {
      std::uint32_t pairs[4] = {};
      DROUGHT_UNROLL
      for (int p = 0; p < 4 && i + 2 * p < out_count; ++p)
        pairs[p] = bf16_pair(out[i + 2 * p] * sum[p % 2], out[i + 2 * p + 1] * sum[p % 2]);
      const int at_row = thread / 32 * 16 + thread % 16, piece = i / 4 + thread % 32 / 16;
      store_matrices(queries + piece / 8 * Tiling::query_chunk_bytes + (group * 64 + at_row) * swizzle_bytes +
                         (piece % 8 ^ at_row % 8) * 16,
                     pairs);
    }
    publish_to_copies();
    meet(1 + Tiling::groups + group, warpgroup_threads);
    if (thread != 0) return;
    Corner at{0, tile.head, tile.out_row + group * 64, tile.out_token};
    DROUGHT_UNROLL
    for (int chunk = 0; chunk < Tiling::value_chunks; ++chunk, at.x += 64)
      store_box(maps.out, queries + chunk * Tiling::query_chunk_bytes + group * 64 * swizzle_bytes, at);
    stores_issued();
    stored = stage;
    if (Tiling::query_stages == 1) give_back();
  }

  /// Lets the queries come that follow where the last output was stored from. Where there is room for others,
  /// that is waited for when the next tile is under way.
  DROUGHT_DEVICE void give_back() {
    if (thread != 0 || stored < 0) return;
    wait_for_stores_to_read();
    memory.queries_empty(stored).arrive();
    stored = -1;
  }
};

template <typename Tiling>
__global__ void __launch_bounds__(Tiling::threads, Tiling::blocks_per_sm)
    prefill_attention(const __grid_constant__ PrefillMaps maps, const PrefillGrid grid) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const PrefillBlockMemory<Tiling> memory(shared);
  if (threadIdx.x == 0) {
    for (const CUtensorMap* map : {&maps.q, &maps.k, &maps.v, &maps.out}) prefetch(*map);
    memory.init();
  }
  __syncthreads();
  constexpr int producer_registers = Tiling::groups == 3 ? 32 : 40;
  constexpr int consumer_registers = Tiling::groups == 3 ? 160 : Tiling::is_short ? 216 : 232;
  if (threadIdx.x < warpgroup_threads) {
    shrink_to<producer_registers>();
    if (threadIdx.x == 0) PrefillProducer<Tiling>{maps, grid, memory}.run();
  } else {
    grow_to<consumer_registers>();
    const int thread = static_cast<int>(threadIdx.x);
    PrefillConsumer<Tiling>{maps, grid, memory, thread / warpgroup_threads - 1, thread % warpgroup_threads}
        .run();
  }
}

}  // namespace drought::sm90
