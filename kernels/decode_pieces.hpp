// How the keys of a decode step are cut into pieces, each of which one block attends to.
//
// A unit is one sequence with as many KV heads as a block takes at once. With a fixed number of splits every
// unit is cut into that many pieces. Without, a fixed number of parts share the units laid end to end, in
// tiles of 16 keys, equally: a part takes pieces of one or more units, a unit is cut where a part ends. Part
// p leaves what it found of unit u in slot p + u, which no other pair has, since each next piece begins a new
// part or a new unit. So the workspace has parts + units slots, and neither it nor the grid depends on how
// long the sequences are: a captured graph may be replayed for any, given their schedule. Source of equal
// parts with a bounded workspace: FlashMLA's tile scheduler metadata (DeepSeek 2025).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/simt/config.hpp"

namespace drought {

inline constexpr int decode_tile = 16;  ///< Keys.

struct DecodeArguments {
  const void *q, *k, *v;  // q [batch][heads][key_dim], k and v rows at [page][page_size][kv_heads].
  const float *k_scales, *v_scales;  // As the rows, of a cache that has them.
  const float* sinks;                // [heads], or null.
  const std::int32_t* page_table;    // [batch][table_width]
  const std::int32_t* seqlens;       // [batch]
  const std::int32_t* schedule;      // decode_schedule()'s, where splits is 0.
  void* out;                         // [batch][heads][value_dim]
  float* split_out;                  // [slot][heads of a unit][value_dim]
  float* split_lse;                  // [slot][heads of a unit], base 2; -infinity without keys.
  unsigned* arrivals;                // [batch][heads]: pieces done, 0 before and after. Or null.
  int batch, heads, kv_heads, page_size, table_width;
  int splits, parts, heads_at_once;  // heads_at_once: KV heads of a unit.
  int window;                        // The newest keys that are seen; 0: all.
  float scale_log2, softcap_log2;    // Of a score in base 2; softcap 0: none.
  float k_scale, v_scale;            // Of all elements.
};

/// The keys that the newest token sees, and the tiles of them. A sequence without any has one empty tile.
struct DecodeKeys {
  int first, end, tiles;

  DROUGHT_ANYWHERE static DecodeKeys of(int length, int window) {
    const int first = window > 0 && window < length ? length - window : 0;
    const int tiles = (length + decode_tile - 1) / decode_tile - first / decode_tile;
    return {first, length, tiles > 0 ? tiles : 1};
  }
  /// Where a tile begins; the first and the last may be short.
  DROUGHT_ANYWHERE int at(int tile) const {
    const int begin = first / decode_tile * decode_tile + tile * decode_tile;
    return begin < first ? first : begin < end ? begin : end;
  }
};

/// How a batch is cut: `groups` units a sequence.
struct DecodeCut {
  std::size_t groups, parts;
  int window = 0;
  int piece_tiles = 0;  ///< What beginning a piece costs, in tiles.
};

/// The parts that share a batch: `parts` + 1 pairs {unit, tile}, where each part begins and the last ends;
/// then for each unit {first slot, count of pieces}. Every part is given as much to do, counting what its
/// pieces cost to begin.
inline std::vector<std::int32_t> decode_schedule(std::span<const std::int32_t> lengths,
                                                 const DecodeCut& cut) {
  const std::size_t units = lengths.size() * cut.groups;
  const auto begin_cost = static_cast<std::size_t>(cut.piece_tiles);
  const auto cost_of = [&](std::size_t unit) {
    return begin_cost +
           static_cast<std::size_t>(DecodeKeys::of(lengths[unit / cut.groups], cut.window).tiles);
  };
  std::size_t total = 0;
  for (std::size_t unit = 0; unit < units; ++unit) total += cost_of(unit);
  // No more parts than tiles, so that those between the first and the last of a unit all have some of it.
  const std::size_t parts = std::min(cut.parts, total - units * begin_cost);
  const auto holder_of = [&](std::size_t place) { return ((place + 1) * parts - 1) / total; };
  std::vector<std::int32_t> schedule, holders;
  std::size_t before = 0;
  for (std::size_t unit = 0; unit < units; before += cost_of(unit++)) {
    const std::size_t first_tile = before + begin_cost, after = before + cost_of(unit);
    for (std::size_t begin; schedule.size() < 2 * parts;) {
      begin = schedule.size() / 2 * total / parts;
      if (begin >= after) break;
      const std::size_t tile = begin < first_tile ? 0 : begin - first_tile;
      schedule.insert(schedule.end(), {static_cast<std::int32_t>(unit), static_cast<std::int32_t>(tile)});
    }
    const std::size_t first = holder_of(first_tile), last = holder_of(after - 1);
    holders.push_back(static_cast<std::int32_t>(first + unit));
    holders.push_back(static_cast<std::int32_t>(last - first + 1));
  }
  while (schedule.size() < 2 * (cut.parts + 1))
    schedule.insert(schedule.end(), {static_cast<std::int32_t>(units), 0});
  schedule.insert(schedule.end(), holders.begin(), holders.end());
  return schedule;
}

/// Into how many parts `units` are cut for `blocks` that are on the chip at a time: a few less than these
/// where units of one length are then cut into equal parts, or a part is several whole ones, so that none
/// begins a piece more than it must. Of a unit's pieces 32 are weighed at once, so that 33 would take twice
/// as long.
constexpr std::size_t decode_parts(std::size_t units, std::size_t blocks) {
  const std::size_t pieces = blocks / units;  // Of a unit; 0: a part has several.
  const std::size_t whole = units / ((units + blocks - 1) / blocks);
  for (const std::size_t even : {pieces / 32 * 32 * units, pieces * units, pieces == 0 ? whole : 0})
    if (even * 20 >= blocks * 19) return even;
  return blocks;
}

/// The slots of a unit's pieces: `count` from `first` on.
struct DecodeSlots {
  int first, count;
};

struct DecodePiece {
  int unit, batch;
  int begin, end;  ///< Keys.
  int slot;
  DecodeSlots slots;  ///< Of all pieces of the unit.
  bool is_last;       ///< Of its part, or split.
};

template <typename Context>
DROUGHT_DEVICE DecodeSlots slots_of(Context& context, const DecodeArguments& given, int unit) {
  if (given.splits != 0) return {unit * given.splits, given.splits};
  const auto schedule = context.global(given.schedule);
  const auto at = static_cast<std::size_t>(2 * (given.parts + 1 + unit));
  return {schedule[at], schedule[at + 1]};
}

/// Calls visit(DecodePiece) for each piece of the part, or for the split of a unit, that block x is.
template <typename Context, typename Visit>
DROUGHT_DEVICE void for_each_piece(Context& context, const DecodeArguments& given, Visit visit) {
  const int place = static_cast<int>(context.block().x), groups = given.kv_heads / given.heads_at_once;
  const auto seqlens = context.global(given.seqlens);
  // A lone sequence's length need not wait for the schedule, nor its unit for a division.
  const int lone_length = given.batch == 1 ? seqlens[0] : 0;
  const auto batch_of = [&](int unit) { return given.batch == 1 ? 0 : unit / groups; };
  const auto keys_of = [&](int unit) {
    const int batch = batch_of(unit);
    const int length = given.batch == 1 ? lone_length : seqlens[static_cast<std::size_t>(batch)];
    return DecodeKeys::of(length, given.window);
  };
  int unit, tile, last, last_tile;
  if (given.splits != 0) {
    last = unit = place / given.splits;
    const int tiles = keys_of(unit).tiles, split_tiles = (tiles + given.splits - 1) / given.splits;
    const int begin = place % given.splits * split_tiles;
    tile = begin < tiles ? begin : tiles;
    last_tile = split_tiles < tiles - tile ? tile + split_tiles : tiles;
  } else {
    const auto schedule = context.global(given.schedule);
    const auto at = static_cast<std::size_t>(2 * place);
    unit = schedule[at], tile = schedule[at + 1], last = schedule[at + 2], last_tile = schedule[at + 3];
  }
  // A split may be empty, and says so in its slot; a piece of a part never is.
  for (; given.splits != 0 || unit < last || (unit == last && tile < last_tile); ++unit, tile = 0) {
    const DecodeKeys keys = keys_of(unit);
    const int end = unit == last ? last_tile : keys.tiles;
    const int slot = given.splits != 0 ? place : place + unit;
    const bool is_last = unit == last || (unit + 1 == last && last_tile == 0);
    visit(DecodePiece{unit, batch_of(unit), keys.at(tile), keys.at(end), slot, slots_of(context, given, unit),
                      is_last});
    if (given.splits != 0) return;
  }
}

}  // namespace drought
