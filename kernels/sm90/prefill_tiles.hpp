// How Hopper's prefill attention cuts its work up: the tiles, which of them a block draws next, and the
// shared memory through which the warpgroups of a block hand them on. For nvcc alone.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/prefill_arguments.hpp"
#include "kernels/sm90/ptx.hpp"

namespace drought::sm90 {

/// What a variant's queries see of their sequence. The last takes any window and a soft cap.
enum class Sight { all, causal, window };

/// Sizes of one variant. `rows` queries and `keys` keys make a tile. In shared memory rows are cut into
/// chunks of 64 columns; what is past the last column arrives as zeros and costs no bandwidth.
template <int head_dim_, int value_dim_, int rows_, int keys_, int query_stages_, Sight sight_>
struct PrefillTiling {
  static constexpr int head_dim = head_dim_, value_dim = value_dim_, rows = rows_, keys = keys_;
  static constexpr Sight sight = sight_;
  static constexpr int groups = rows / 64;  // Warpgroups that compute.
  static constexpr int key_chunks = (head_dim + 63) / 64, value_chunks = (value_dim + 63) / 64;
  static constexpr int stages = 2, query_stages = query_stages_;
  static constexpr int threads = warpgroup_threads * (groups + 1);
  static constexpr bool is_short = rows == 64;
  static constexpr int blocks_per_sm = is_short ? 2 : 1;
  static constexpr int key_chunk_bytes = keys * swizzle_bytes, query_chunk_bytes = rows * swizzle_bytes;
  static constexpr int query_bytes = key_chunks * query_chunk_bytes;
  static constexpr int key_bytes = key_chunks * key_chunk_bytes, value_bytes = value_chunks * key_chunk_bytes;
  static constexpr int keys_at = query_stages * query_bytes, values_at = keys_at + stages * key_bytes;
  static constexpr int barriers_at = values_at + stages * value_bytes;
  static constexpr int shared_bytes = barriers_at + 256;
  static_assert(shared_bytes <= 227 * 1024 && value_chunks <= key_chunks);
};

struct PrefillGrid {
  const std::int32_t *cu_seqlens_q, *cu_seqlens_k;  // Null: all sequences are of the lengths that follow.
  int queries, keys;                                // The most of a sequence.
  int heads, heads_to_kv_head;                      // Query heads in all, and those that share a K and V.
  int row_blocks, tiles;
  int heads_at_once;  // Of one sequence or several, whose K and V stay in the L2 cache together.
  int heads_in_all;
  int left, right;         // As in PrefillArguments.
  float scale_log2;        // From a score, squeezed or not, to a base-2 exponent.
  float score_scale_log2;  // From a product to what is squeezed.
  float softcap_log2;
  const float* sinks;   // [heads], or null.
  unsigned* next_tile;  // Begins and ends a launch as 0. Null: tiles are dealt out in turn.
};

struct PrefillMaps {
  CUtensorMap q, k, v, out;
};

/// Sequences of several lengths in one tensor map: its third dimension is as long as the longest sequence,
/// its fourth goes over all tokens with the same stride, and it begins that length before the tensor. A
/// sequence's rows lie against the end of the third dimension, and what would be past them is outside the
/// tensor.
DROUGHT_DEVICE Corner corner_of(int head, int row, int first, int length, int longest) {
  return {0, head, longest - length + row, first + length};
}

/// What the producer tells the others of a tile.
struct PrefillNotice {
  int own;   // The key that belongs to the tile's first query; below 0 where there are too few.
  int keys;  // Of the sequence.
  int first_keys, end_keys;  // Tiles of keys, at least one.
  int head;                  // -1: there are no more tiles.
  int out_row, out_token;    // Where the output begins: the corner's last two places.
};

/// A place in the output: `rows` queries of one head, and the tiles of keys that they see.
template <typename Tiling>
struct PrefillTile {
  int first_row, head, batch;
  PrefillSequence of;
  // Tiles of keys. Where no row sees any, one past the last key, which arrives as zeros and is hidden.
  int first_keys, end_keys;

  DROUGHT_DEVICE PrefillTile(const PrefillGrid& grid, int place) {
    place_at(grid, place);
    of = {batch * grid.queries, grid.queries, batch * grid.keys, grid.keys};
    if (grid.cu_seqlens_q) {
      const std::int32_t *const q = grid.cu_seqlens_q + batch, *const k = grid.cu_seqlens_k + batch;
      of = {q[0], q[1] - q[0], k[0], k[1] - k[0]};
    }
    const int last_row = (first_row + Tiling::rows < of.queries ? first_row + Tiling::rows : of.queries) - 1;
    const int end = Tiling::sight == Sight::all ? of.keys : of.last_seen(last_row, grid.right);
    end_keys = (end + Tiling::keys - 1) / Tiling::keys;
    first_keys = Tiling::sight == Sight::window ? of.first_seen(first_row, grid.left) / Tiling::keys : 0;
    if (first_keys < end_keys) return;
    first_keys = (of.keys + Tiling::keys - 1) / Tiling::keys;
    end_keys = first_keys + 1;
  }

  /// Sequences shorter than the longest do not fill their share of the grid.
  DROUGHT_DEVICE bool exists() const { return first_row < of.queries; }

  DROUGHT_DEVICE Corner query_corner(const PrefillGrid& grid) const {
    return corner_of(head, first_row, of.first_query, of.queries, grid.queries);
  }
  DROUGHT_DEVICE Corner key_corner(const PrefillGrid& grid, int j) const {
    return corner_of(head / grid.heads_to_kv_head, j * Tiling::keys, of.first_key, of.keys, grid.keys);
  }

 private:
  DROUGHT_DEVICE void place_at(const PrefillGrid& grid, int place) {
    int block, head_of_all;
    if constexpr (Tiling::sight == Sight::all) {
      block = place % grid.row_blocks;
      head_of_all = place / grid.row_blocks;
    } else {
      const int first_head = place / (grid.heads_at_once * grid.row_blocks) * grid.heads_at_once;
      const int left = grid.heads_in_all - first_head;
      const int heads = left < grid.heads_at_once ? left : grid.heads_at_once;
      const int in_group = place - first_head * grid.row_blocks;
      block = grid.row_blocks - 1 - in_group / heads;
      head_of_all = first_head + in_group % heads;
    }
    first_row = block * Tiling::rows;
    head = head_of_all % grid.heads;
    batch = head_of_all / grid.heads;
  }
};

/// What the warpgroups of a block share: addresses in shared memory, and a barrier for each hand-over.
template <typename Tiling>
struct PrefillBlockMemory {
  std::uint32_t base;
  volatile PrefillNotice* notices;  // Two, in turn.

  DROUGHT_DEVICE explicit PrefillBlockMemory(unsigned char* shared)
      : base(shared_address(shared)),
        notices(reinterpret_cast<PrefillNotice*>(shared + Tiling::barriers_at + 128)) {}

  DROUGHT_DEVICE std::uint32_t queries(int stage) const { return base + stage * Tiling::query_bytes; }
  DROUGHT_DEVICE std::uint32_t keys(int stage) const {
    return base + Tiling::keys_at + stage * Tiling::key_bytes;
  }
  DROUGHT_DEVICE std::uint32_t values(int stage) const {
    return base + Tiling::values_at + stage * Tiling::value_bytes;
  }
  DROUGHT_DEVICE Barrier queries_full(int stage) const { return at(stage); }
  DROUGHT_DEVICE Barrier queries_empty(int stage) const { return at(2 + stage); }
  DROUGHT_DEVICE Barrier keys_full(int stage) const { return at(4 + stage); }
  DROUGHT_DEVICE Barrier keys_empty(int stage) const { return at(6 + stage); }
  DROUGHT_DEVICE Barrier values_full(int stage) const { return at(8 + stage); }
  DROUGHT_DEVICE Barrier values_empty(int stage) const { return at(10 + stage); }
  DROUGHT_DEVICE Barrier notice_full(int stage) const { return at(12 + stage); }
  DROUGHT_DEVICE Barrier notice_empty(int stage) const { return at(14 + stage); }

  DROUGHT_DEVICE void init() const {
    for (int stage = 0; stage < 2; ++stage) {
      for (const int full : {0, 4, 8, 12}) at(full + stage).init(1);
      for (const int empty : {2, 6, 10}) at(empty + stage).init(Tiling::groups);
      notice_empty(stage).init(warpgroup_threads * Tiling::groups);
    }
    publish_barriers();
  }

 private:
  DROUGHT_DEVICE Barrier at(int place) const { return Barrier(base + Tiling::barriers_at + 8 * place); }
};

}  // namespace drought::sm90
