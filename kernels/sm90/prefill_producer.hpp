// The side of Hopper's prefill attention that computes nothing: it draws tiles, says what they are and brings
// their queries, keys and values by the tensor memory accelerator, as far ahead as there is room. For nvcc
// alone.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/sm90/prefill_tiles.hpp"
#include "kernels/sm90/ptx.hpp"

namespace drought::sm90 {

/// The one thread that brings everything.
template <typename Tiling>
struct PrefillProducer {
  using Tile = PrefillTile<Tiling>;
  const PrefillMaps& maps;
  const PrefillGrid& grid;
  const PrefillBlockMemory<Tiling>& memory;
  int brought = 0;  // Tiles of K; those of V follow one behind.

  DROUGHT_DEVICE void run() {
    int turn = 0;
    for (int place = static_cast<int>(blockIdx.x), next; place < grid.tiles; place = next) {
      next = following(place);
      const Tile tile(grid, place);
      if (!tile.exists()) continue;
      announce(tile, turn);
      bring(tile, turn++);
    }
    notice(turn).head = -1;
    memory.notice_full(turn & 1).arrive();
  }

  DROUGHT_DEVICE void announce(const Tile& tile, int turn) const {
    volatile PrefillNotice& said = notice(turn);
    const Corner out = tile.query_corner(grid);
    said.own = tile.first_row + tile.of.keys - tile.of.queries;
    said.keys = tile.of.keys;
    said.first_keys = tile.first_keys;
    said.end_keys = tile.end_keys;
    said.head = tile.head;
    said.out_row = out.z;
    said.out_token = out.w;
    memory.notice_full(turn & 1).arrive();
  }

  /// All that one tile needs, the last keys first.
  DROUGHT_DEVICE void bring(const Tile& tile, int turn) {
    bring_queries(tile, turn);
    int j = tile.end_keys - 1;
    bring_keys(tile, j, brought);
    for (; j > tile.first_keys; --j, ++brought) {
      bring_keys(tile, j - 1, brought + 1);
      bring_values(tile, j, brought);
    }
    bring_values(tile, j, brought++);
  }

 private:
  DROUGHT_DEVICE volatile PrefillNotice& notice(int turn) const {
    memory.notice_empty(turn & 1).wait((turn / 2 & 1) ^ 1);
    return memory.notices[turn & 1];
  }
  // The counter is drawn from once for each tile, so it wraps to 0 with the last.
  DROUGHT_DEVICE int following(int place) const {
    if (grid.next_tile)
      return static_cast<int>(gridDim.x + atomicInc(grid.next_tile, static_cast<unsigned>(grid.tiles - 1)));
    return place + static_cast<int>(gridDim.x);
  }
  DROUGHT_DEVICE void bring_queries(const Tile& tile, int turn) const {
    const int stage = turn % Tiling::query_stages, round = turn / Tiling::query_stages;
    memory.queries_empty(stage).wait((round & 1) ^ 1);
    memory.queries_full(stage).arrive_expecting(Tiling::query_bytes);
    Corner at = tile.query_corner(grid);
    DROUGHT_UNROLL
    for (int chunk = 0; chunk < Tiling::key_chunks; ++chunk, at.x += 64)
      load_box(memory.queries(stage) + chunk * Tiling::query_chunk_bytes, maps.q, memory.queries_full(stage),
               at);
  }
  DROUGHT_DEVICE void bring_keys(const Tile& tile, int j, int count) const {
    const int stage = count % Tiling::stages;
    bring<Tiling::key_chunks>(maps.k, memory.keys(stage), memory.keys_full(stage), memory.keys_empty(stage),
                              tile, j, count);
  }
  DROUGHT_DEVICE void bring_values(const Tile& tile, int j, int count) const {
    const int stage = count % Tiling::stages;
    bring<Tiling::value_chunks>(maps.v, memory.values(stage), memory.values_full(stage),
                                memory.values_empty(stage), tile, j, count);
  }
  template <int chunks>
  DROUGHT_DEVICE void bring(const CUtensorMap& map, std::uint32_t to, Barrier full, Barrier empty,
                            const Tile& tile, int j, int count) const {
    empty.wait((count / Tiling::stages & 1) ^ 1);
    full.arrive_expecting(chunks * Tiling::key_chunk_bytes);
    Corner at = tile.key_corner(grid, j);
    DROUGHT_UNROLL
    for (int chunk = 0; chunk < chunks; ++chunk, at.x += 64)
      load_box(to + chunk * Tiling::key_chunk_bytes, map, full, at);
  }
};

}  // namespace drought::sm90
