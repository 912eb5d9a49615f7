// The sizes of one variant of Hopper's decode attention, and what lies where in a block's shared memory. For
// nvcc alone.
#pragma once

#include <algorithm>
#include <bit>
#include <type_traits>

#include "kernels/sm90/decode_bodies.hpp"
#include "kernels/sm90/decode_box_feed.hpp"
#include "kernels/sm90/decode_feed.hpp"
#include "kernels/sm90/decode_rows.hpp"
#include "kernels/sm90/decode_shared_feed.hpp"

namespace drought::sm90 {

/// How rows come: by each warp in small copies, by each warp in boxes, or for all warps together.
enum class Feeding { copies, boxes, shared };

/// `column_tiles` times eight query heads share a KV head.
template <typename T_, typename Rows_, int head_dim_, int column_tiles_, Feeding feeding_>
struct DecodeTiling {
  using T = T_;
  static constexpr int head_dim = head_dim_, column_tiles = column_tiles_;
  static constexpr bool shares_rows = feeding_ == Feeding::shared;
  static constexpr int columns = column_tiles * decode_columns;
  static constexpr int warps = static_cast<int>(decode_warps(Rows_::type.row_bytes(head_dim)));
  template <int halves>
  using RowsOf = DecodeRows<Rows_, head_dim, shares_rows ? warps : 1, feeding_ == Feeding::boxes, halves>;
  // Two halves at a time hide more of what each waits for, where there is room for three stages of them.
  static constexpr bool has_halves =
      shares_rows && 6 * (RowsOf<2>::tokens_bytes + RowsOf<2>::scale_bytes) <= decode_shared_bytes;
  using Rows = RowsOf<has_halves ? 2 : 1>;
  using Feed = std::conditional_t<
      shares_rows, SharedFeed<DecodeTiling>,
      std::conditional_t<feeding_ == Feeding::boxes, BoxFeed<DecodeTiling>, OwnFeed<DecodeTiling>>>;
  static constexpr int threads = warps * 32;
  static constexpr int tokens_log2 = std::countr_zero(static_cast<unsigned>(Rows::tile_tokens));
  static constexpr int depth_tiles = head_dim / 16;
  static constexpr int stage_bytes = 2 * (Rows::tokens_bytes + Rows::scale_bytes);
  static constexpr int rings = shares_rows ? 1 : warps;
  // All but one are on their way: 128 KiB a multiprocessor with the longest rows.
  static constexpr int stages = shares_rows ? std::min(6, decode_shared_bytes / stage_bytes) : 3;
  // Over its ring, once used up: a warp's outputs and its {largest, sum} of every column. Rows are so long
  // that what the lanes of a product write at a time goes to as many banks.
  static constexpr int out_stride = head_dim + 4, results_bytes = columns * (out_stride * 4 + 8);
  static constexpr int ring_bytes = std::max(stages * stage_bytes, shares_rows ? 0 : results_bytes);
  static constexpr int rings_bytes = rings * ring_bytes;
  static constexpr int barriers_at = rings_bytes;
  static constexpr int barriers = stages * (shares_rows ? 4 : feeding_ == Feeding::boxes ? warps : 0);
  static constexpr int shared_bytes = barriers_at + 8 * barriers;
  static_assert(stages >= 2 && stage_bytes % 16 == 0 && shared_bytes <= 113 * 1024);
};

}  // namespace drought::sm90
