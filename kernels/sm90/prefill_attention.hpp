// Prefill attention in bf16 as Hopper wants it (FlashAttention-3, Shah et al. 2024): one warpgroup brings
// tiles of K and V by the tensor memory accelerator, the others hold 64 queries each. They take turns at the
// tensor cores, so that one's softmax hides behind another's products, and inside each the scores of one
// tile are multiplied while the values of the tile before are. Blocks are persistent; a causal grid draws its
// tiles from a counter, the longest first, from as many heads at a time as fit the L2 cache. For nvcc alone.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "harness/simt/arithmetic.hpp"
#include "kernels/sm90/multiply.hpp"
#include "kernels/sm90/prefill_tiles.hpp"

namespace drought::sm90 {

/// The one thread that brings everything.
template <typename Tiling>
struct PrefillProducer {
  const PrefillMaps& maps;
  const PrefillGrid& grid;
  const PrefillBlockMemory<Tiling>& memory;
  int brought = 0;  // Tiles of K; those of V follow one behind.

  DROUGHT_DEVICE void run() {
    for (int turn = 0, place = static_cast<int>(blockIdx.x), next; place < grid.tiles; place = next, ++turn) {
      next = following(place);
      memory.tile_empty(turn & 1).wait((turn / 2 & 1) ^ 1);
      memory.tiles[turn & 1] = next;
      memory.tile_full(turn & 1).arrive();
      const PrefillTile tile = tile_at<Tiling>(grid, place);
      bring_queries(tile, turn);
      int j = key_tiles<Tiling>(grid, tile) - 1;
      bring_keys(tile, j, brought);
      for (; j > 0; --j, ++brought) {
        bring_keys(tile, j - 1, brought + 1);
        bring_values(tile, j, brought);
      }
      bring_values(tile, 0, brought++);
    }
  }

 private:
  // The counter is drawn from once for each tile, so it wraps to 0 with the last.
  DROUGHT_DEVICE int following(int place) const {
    if constexpr (Tiling::causal)
      return static_cast<int>(gridDim.x + atomicInc(grid.next_tile, static_cast<unsigned>(grid.tiles - 1)));
    return place + static_cast<int>(gridDim.x);
  }
  DROUGHT_DEVICE void bring_queries(const PrefillTile& tile, int turn) const {
    const int stage = turn % Tiling::query_stages, round = turn / Tiling::query_stages;
    memory.queries_empty(stage).wait((round & 1) ^ 1);
    memory.queries_full(stage).arrive_expecting(Tiling::query_bytes);
    DROUGHT_UNROLL
    for (int chunk = 0; chunk < Tiling::chunks; ++chunk)
      load_box(memory.queries(stage) + chunk * Tiling::query_chunk_bytes, maps.q, memory.queries_full(stage),
               {chunk * 64, tile.head, tile.row_block * Tiling::rows, tile.batch});
  }
  DROUGHT_DEVICE void bring_keys(const PrefillTile& tile, int j, int count) const {
    const int stage = count % Tiling::stages;
    bring(maps.k, memory.keys(stage), memory.keys_full(stage), memory.keys_empty(stage), tile, j, count);
  }
  DROUGHT_DEVICE void bring_values(const PrefillTile& tile, int j, int count) const {
    const int stage = count % Tiling::stages;
    bring(maps.v, memory.values(stage), memory.values_full(stage), memory.values_empty(stage), tile, j,
          count);
  }
  DROUGHT_DEVICE void bring(const CUtensorMap& map, std::uint32_t to, Barrier full, Barrier empty,
                            const PrefillTile& tile, int j, int count) const {
    empty.wait((count / Tiling::stages & 1) ^ 1);
    full.arrive_expecting(Tiling::key_bytes);
    DROUGHT_UNROLL
    for (int chunk = 0; chunk < Tiling::chunks; ++chunk)
      load_box(to + chunk * Tiling::key_chunk_bytes, map, full,
               {chunk * 64, tile.head / grid.heads_to_kv_head, j * Tiling::keys, tile.batch});
  }
};

/// One warpgroup that computes: 64 queries, their scores against one tile of keys, and their output so far.
template <typename Tiling>
struct PrefillConsumer {
  static constexpr int score_count = Tiling::keys / 2, out_count = Tiling::head_dim / 2;

  const PrefillMaps& maps;
  const PrefillGrid& grid;
  const PrefillBlockMemory<Tiling>& memory;
  const int group;   // From 0.
  const int thread;  // Of the warpgroup.
  int used = 0;      // Tiles of K and V multiplied by V.
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
    for (int turn = 0, place = static_cast<int>(blockIdx.x), next; place < grid.tiles; place = next, ++turn) {
      memory.tile_full(turn & 1).wait(turn / 2 & 1);
      next = memory.tiles[turn & 1];
      memory.tile_empty(turn & 1).arrive();
      attend(tile_at<Tiling>(grid, place), turn);
    }
    if (thread == 0) wait_for_stores();
  }

 private:
  DROUGHT_DEVICE void attend(const PrefillTile& tile, int turn) {
    const int stage = turn % Tiling::query_stages;
    const std::uint32_t queries = memory.queries(stage);
    const int first_row = tile.row_block * Tiling::rows + group * 64;
    const int tiles = key_tiles<Tiling>(grid, tile);
    largest[0] = largest[1] = negative_infinity();
    sum[0] = sum[1] = 0;
    memory.queries_full(stage).wait(turn / Tiling::query_stages & 1);
    memory.keys_full(used % Tiling::stages).wait(used / Tiling::stages & 1);
    multiply_keys(queries, used % Tiling::stages);
    multiplies_end<0>(scores);
    if (thread == 0) memory.keys_empty(used % Tiling::stages).arrive();
    weigh<true>(tiles - 1, first_row);
    round_weights();

    int j = tiles - 2, accumulate = 0;
    if constexpr (Tiling::causal) {
      const int clear = (tile.row_block * Tiling::rows + grid.keys - grid.queries + 1) / Tiling::keys;
      for (; j >= clear && j >= 0; --j, accumulate = 1) step<true>(queries, j, first_row, accumulate);
    }
    for (; j >= 0; --j, accumulate = 1) step<false>(queries, j, first_row, accumulate);

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
    hand_in(queries, tile, first_row, stage);
  }

  /// The scores of key tile j while the values of the tile after it are added.
  template <bool masked>
  DROUGHT_DEVICE void step(std::uint32_t queries, int j, int first_row, int accumulate) {
    const int keys = (used + 1) % Tiling::stages, values = used % Tiling::stages;
    memory.keys_full(keys).wait((used + 1) / Tiling::stages & 1);
    if constexpr (Tiling::groups > 1) meet(1 + group, 2 * warpgroup_threads);
    multiply_keys(queries, keys);
    memory.values_full(values).wait(used / Tiling::stages & 1);
    multiply_values(values, accumulate);
    if constexpr (Tiling::groups > 1) pass(1 + (group + 1) % Tiling::groups, 2 * warpgroup_threads);
    multiplies_end<1>(scores);
    if (thread == 0) memory.keys_empty(keys).arrive();
    weigh<masked>(j, first_row);
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
    for (int k = 0; k < Tiling::head_dim / 16; ++k) {
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
      Multiply<Tiling::head_dim>::from_registers(
          out, weights + 4 * k,
          descriptor(memory.values(stage) + k * 16 * swizzle_bytes, Tiling::key_chunk_bytes),
          k > 0 || accumulate);
    multiplies_issued();
  }

  /// Turns the scores of key tile j into weights relative to each row's largest so far.
  template <bool masked>
  DROUGHT_DEVICE void weigh(int j, int first_row) {
    if constexpr (masked) {
      DROUGHT_UNROLL
      for (int i = 0; i < score_count; ++i) {
        int limit = grid.keys;
        if constexpr (Tiling::causal) {
          const int sees = first_row + row(i) + grid.keys - grid.queries + 1;
          limit = sees < limit ? sees : limit;
        }
        if (j * Tiling::keys + column(i) >= limit) scores[i] = negative_infinity();
      }
    }
    float found[2] = {largest[0], largest[1]}, base[2];
    DROUGHT_UNROLL
    for (int i = 0; i < score_count; ++i) found[i / 2 % 2] = fmaxf(found[i / 2 % 2], scores[i]);
    DROUGHT_UNROLL
    for (int r = 0; r < 2; ++r) {
      found[r] = fmaxf(found[r], __shfl_xor_sync(~0u, found[r], 1));
      found[r] = fmaxf(found[r], __shfl_xor_sync(~0u, found[r], 2));
      base[r] = (masked && found[r] == negative_infinity() ? 0.0f : found[r]) * grid.scale_log2;
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
  DROUGHT_DEVICE void hand_in(std::uint32_t queries, const PrefillTile& tile, int first_row, int stage) {
    DROUGHT_UNROLL
    for (int i = 0; i < out_count; i += 8) {
      std::uint32_t pairs[4];
      DROUGHT_UNROLL
      for (int p = 0; p < 4; ++p)
        pairs[p] = bf16_pair(out[i + 2 * p] * sum[p % 2], out[i + 2 * p + 1] * sum[p % 2]);
      const int at_row = thread / 32 * 16 + thread % 16, piece = i / 4 + thread % 32 / 16;
      store_matrices(queries + piece / 8 * Tiling::query_chunk_bytes + (group * 64 + at_row) * swizzle_bytes +
                         (piece % 8 ^ at_row % 8) * 16,
                     pairs);
    }
    publish_to_stores();
    meet(1 + Tiling::groups + group, warpgroup_threads);
    if (thread != 0) return;
    DROUGHT_UNROLL
    for (int chunk = 0; chunk < Tiling::chunks; ++chunk)
      store_box(maps.out, queries + chunk * Tiling::query_chunk_bytes + group * 64 * swizzle_bytes,
                {chunk * 64, tile.head, first_row, tile.batch});
    wait_for_stores_to_read();
    memory.queries_empty(stage).arrive();
  }
};

template <typename Tiling>
__global__ void __launch_bounds__(Tiling::threads, 1)
    prefill_attention(const __grid_constant__ PrefillMaps maps, const PrefillGrid grid) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const PrefillBlockMemory<Tiling> memory{shared_address(shared),
                                          reinterpret_cast<int*>(shared + Tiling::barriers_at + 128)};
  if (threadIdx.x == 0) memory.init();
  __syncthreads();
  constexpr int producer_registers = Tiling::groups == 3 ? 32 : 24;
  constexpr int consumer_registers = Tiling::groups == 3 ? 160 : 240;
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
