// How rows of 16-bit numbers come into shared memory where a page holds whole tiles: a warp asks the tensor
// memory accelerator for the sixteen rows of its head as one box of K and one of V, and waits for no other
// warp. Boxes read about as fast as the memory gives; copies of sixteen bytes fall short of that. For nvcc
// alone.
#pragma once

#include <cuda.h>

#include "kernels/sm90/decode_feed.hpp"

namespace drought::sm90 {

struct DecodeMaps {
  CUtensorMap k, v;
};

template <typename Tiling>
class BoxFeed {
 public:
  using Rows = typename Tiling::Rows;
  using Maps = DecodeMaps;
  using Turn = DecodeTurn<Tiling::stages>;

  DROUGHT_DEVICE static void init(const Maps& maps, std::uint32_t shared) {
    if (threadIdx.x % 32 == 0) {
      prefetch(maps.k);
      prefetch(maps.v);
      for (int stage = 0; stage < Tiling::stages; ++stage) landed(shared, stage).init(1);
      publish_barriers();
    }
    __syncwarp();
  }

  /// While the kernel before may still run: brings the warp's first tile as far as the L2 cache, ahead of
  /// what lengths and pages are known to be. What they look like until then is a guess: one that leaves the
  /// table is dropped, and a wrong one brings rows that nobody reads.
  DROUGHT_DEVICE static void foresee(const drought::DecodeArguments& given, const Maps& maps,
                                     const DecodeShare& share) {
    if (given.splits != 0 || !share.has_tiles || threadIdx.x % 32 != 0) return;
    const int groups = given.kv_heads / given.heads_at_once;
    const std::int32_t* const part = given.schedule + 2 * blockIdx.x;
    const int unit = glimpse(part), tile = glimpse(part + 1);
    if (unit < 0 || unit >= given.batch * groups) return;
    const int batch = given.batch == 1 ? 0 : unit / groups;
    const int length = min(glimpse(given.seqlens + batch), given.table_width * given.page_size);
    const DecodeKeys keys = DecodeKeys::of(length, given.window);
    if (tile < 0 || tile >= keys.tiles) return;
    const int key = keys.at(tile) / decode_tokens * decode_tokens + (share.first << Tiling::tokens_log2);
    if (key >= length) return;
    const PageSize page(given.page_size);
    const int of_key = page.page_of(key);
    const auto seen = static_cast<unsigned>(
        glimpse(given.page_table + static_cast<std::size_t>(batch) * given.table_width + of_key));
    const auto token =
        static_cast<int>(seen * static_cast<unsigned>(page.tokens)) + key - of_key * page.tokens;
    const int kv_head = (unit - batch * groups) * given.heads_at_once + share.head;
    prefetch_box(maps.k, {0, token, 0, kv_head});
    prefetch_box(maps.v, {0, token, 0, kv_head});
  }

  DROUGHT_DEVICE BoxFeed(const drought::DecodeArguments& given, const Maps& maps, const DecodeWork& work,
                         const DecodeWalk& walk, std::uint32_t shared, Turn& turn)
      : maps_(maps),
        tokens_(given, work, walk),
        begin_(work.piece.begin),
        end_(work.piece.end),
        tiles_(walk.count),
        kv_head_(walk.kv_head),
        lane_(static_cast<int>(threadIdx.x) % 32),
        shared_(shared),
        ring_(shared + threadIdx.x / 32 * Tiling::ring_bytes),
        turn_(turn),
        token_(tokens_.find_tile(lane_)) {}

  DROUGHT_DEVICE void begin() {
    for (int i = 0; i < Tiling::stages - 1; ++i) bring(i, (turn_.stage + i) % Tiling::stages);
  }

  /// Waits for tile `i` and asks for one more.
  DROUGHT_DEVICE DecodeTile take_keys(int i) {
    const std::uint32_t at = ring_ + turn_.stage * Tiling::stage_bytes;
    const int first_key = tokens_.first_key(i);
    landed(shared_, turn_.stage).wait(turn_.parity);
    if (first_key < begin_ || first_key + decode_tokens > end_) clear_absent(at, first_key);
    __syncwarp();  // What was cleared is there for all lanes, and all have done with the tile before.
    Turn before = turn_;
    before.back();
    bring(i + Tiling::stages - 1, before.stage);
    return {first_key, at, 0};
  }
  DROUGHT_DEVICE void give_keys(int) {}
  DROUGHT_DEVICE void take_values() {}
  DROUGHT_DEVICE void give_values(int) { turn_.next(); }
  DROUGHT_DEVICE void end() {}

 private:
  DROUGHT_DEVICE static Barrier landed(std::uint32_t shared, int stage) {
    return Barrier(shared + Tiling::barriers_at + (threadIdx.x / 32 * Tiling::stages + stage) * 8);
  }

  /// Asks for tile `i`, of 32 of which each lane knows one's token.
  DROUGHT_DEVICE void bring(int i, int stage) {
    if (i >= tiles_) return;
    if (i % 32 == 0 && i != 0) token_ = tokens_.find_tile(i + lane_);
    if (lane_ != i % 32) return;
    const std::uint32_t to = ring_ + stage * Tiling::stage_bytes;
    const Barrier there = landed(shared_, stage);
    there.arrive_expecting(2 * Rows::tokens_bytes);
    load_box(to, maps_.k, there, {0, token_, 0, kv_head_});
    load_box(to + Rows::tokens_bytes, maps_.v, there, {0, token_, 0, kv_head_});
  }

  /// The values of a key that is not there must be finite, for its weight is 0.
  DROUGHT_DEVICE void clear_absent(std::uint32_t tile, int first_key) const {
    const int key = first_key + lane_ % decode_tokens;
    if (key >= begin_ && key < end_) return;
    for (int piece = lane_ / decode_tokens; piece < Rows::pieces; piece += 2)
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(
                       tile + Rows::tokens_bytes + Rows::place(lane_ % decode_tokens, piece)),
                   "r"(0)
                   : "memory");
    publish_to_copies();
  }

  const Maps& maps_;
  const DecodeTokens tokens_;
  const int begin_, end_;
  const int tiles_, kv_head_, lane_;
  const std::uint32_t shared_, ring_;
  Turn& turn_;
  int token_;
};

}  // namespace drought::sm90
