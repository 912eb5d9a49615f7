// How Hopper's prefill attention cuts its work up: the tiles, which of them a block draws next, and the
// shared memory through which the warpgroups of a block hand them on. For nvcc alone.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/sm90/ptx.hpp"

namespace drought::sm90 {

/// Sizes of one variant. `rows` queries and `keys` keys make a tile.
template <int head_dim_, int rows_, int keys_, int query_stages_, bool causal_>
struct PrefillTiling {
  static constexpr int head_dim = head_dim_, rows = rows_, keys = keys_;
  static constexpr bool causal = causal_;
  static constexpr int groups = rows / 64;      // Warpgroups that compute.
  static constexpr int chunks = head_dim / 64;  // Of 64 columns, 128 B a row.
  static constexpr int stages = 2, query_stages = query_stages_;
  static constexpr int threads = warpgroup_threads * (groups + 1);
  static constexpr int query_bytes = rows * head_dim * 2, key_bytes = keys * head_dim * 2;
  static constexpr int keys_at = query_stages * query_bytes, values_at = keys_at + stages * key_bytes;
  static constexpr int barriers_at = values_at + stages * key_bytes;
  static constexpr int shared_bytes = barriers_at + 256;
  static constexpr int key_chunk_bytes = keys * swizzle_bytes, query_chunk_bytes = rows * swizzle_bytes;
  static_assert(shared_bytes <= 227 * 1024);
};

struct PrefillGrid {
  int queries, keys;
  int heads, heads_to_kv_head;  // Query heads in all, and those that share a K and V.
  int row_blocks, tiles;
  int heads_at_once;  // Of one batch or several, whose K and V stay in the L2 cache together.
  int heads_in_all;
  float scale_log2;
  unsigned* next_tile;  // Begins and ends a launch as 0.
};

struct PrefillMaps {
  CUtensorMap q, k, v, out;
};

/// A place in the output: 64 * groups rows of one head.
struct PrefillTile {
  int row_block, head, batch;
};

template <typename Tiling>
DROUGHT_DEVICE PrefillTile tile_at(const PrefillGrid& grid, int place) {
  if constexpr (!Tiling::causal) {
    const int head = place / grid.row_blocks;
    return {place % grid.row_blocks, head % grid.heads, head / grid.heads};
  } else {
    const int first_head = place / (grid.heads_at_once * grid.row_blocks) * grid.heads_at_once;
    const int left = grid.heads_in_all - first_head;
    const int heads = left < grid.heads_at_once ? left : grid.heads_at_once;
    const int in_group = place - first_head * grid.row_blocks;
    const int head = first_head + in_group % heads;
    return {grid.row_blocks - 1 - in_group / heads, head % grid.heads, head / grid.heads};
  }
}

/// Tiles of keys that any row of `tile` sees.
template <typename Tiling>
DROUGHT_DEVICE int key_tiles(const PrefillGrid& grid, const PrefillTile& tile) {
  int keys = grid.keys;
  if constexpr (Tiling::causal) {
    const int end = (tile.row_block + 1) * Tiling::rows;
    keys = (end < grid.queries ? end : grid.queries) + grid.keys - grid.queries;
  }
  return (keys + Tiling::keys - 1) / Tiling::keys;
}

/// What the warpgroups of a block share: addresses in shared memory, and a barrier for each hand-over.
template <typename Tiling>
struct PrefillBlockMemory {
  std::uint32_t base;
  volatile int* tiles;  // The place after the current one, of each of two in turn.

  DROUGHT_DEVICE std::uint32_t queries(int stage) const { return base + stage * Tiling::query_bytes; }
  DROUGHT_DEVICE std::uint32_t keys(int stage) const {
    return base + Tiling::keys_at + stage * Tiling::key_bytes;
  }
  DROUGHT_DEVICE std::uint32_t values(int stage) const {
    return base + Tiling::values_at + stage * Tiling::key_bytes;
  }
  DROUGHT_DEVICE Barrier queries_full(int stage) const { return at(stage); }
  DROUGHT_DEVICE Barrier queries_empty(int stage) const { return at(2 + stage); }
  DROUGHT_DEVICE Barrier keys_full(int stage) const { return at(4 + stage); }
  DROUGHT_DEVICE Barrier keys_empty(int stage) const { return at(6 + stage); }
  DROUGHT_DEVICE Barrier values_full(int stage) const { return at(8 + stage); }
  DROUGHT_DEVICE Barrier values_empty(int stage) const { return at(10 + stage); }
  DROUGHT_DEVICE Barrier tile_full(int stage) const { return at(12 + stage); }
  DROUGHT_DEVICE Barrier tile_empty(int stage) const { return at(14 + stage); }

  DROUGHT_DEVICE void init() const {
    for (int stage = 0; stage < 2; ++stage) {
      for (const int full : {0, 4, 8, 12}) at(full + stage).init(1);
      for (const int empty : {2, 6, 10}) at(empty + stage).init(Tiling::groups);
      tile_empty(stage).init(warpgroup_threads * Tiling::groups);
    }
    publish_barriers();
  }

 private:
  DROUGHT_DEVICE Barrier at(int place) const { return Barrier(base + Tiling::barriers_at + 8 * place); }
};

}  // namespace drought::sm90
