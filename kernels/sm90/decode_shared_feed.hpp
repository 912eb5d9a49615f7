// How the short rows of quantised caches come into shared memory where every warp of a block has a KV head of
// its own: whole tokens together by bulk copies, few requests of many bytes each. Copies of sixteen bytes
// would make requests of 64 bytes or less, which keep the L2 cache busier than the memory. For nvcc alone.
#pragma once

#include "kernels/sm90/decode_feed.hpp"

namespace drought::sm90 {

/// One ring for all warps, which take turns to bring: K of a tile is brought by one and V by another, in the
/// place of those of an earlier tile once all have done with them. Were it the last one to be done that
/// brings, it would be the last for ever, and all others wait for it; so that whose turn it is seldom waits
/// either, it brings half a tile later than it could.
template <typename Tiling>
class SharedFeed {
 public:
  using Rows = typename Tiling::Rows;
  using Maps = DecodeNoMaps;
  using Turn = DecodeTurn<Tiling::stages>;

  DROUGHT_DEVICE static void init(const Maps&, std::uint32_t shared) {
    if (threadIdx.x == 0) {
      for (int at = 0; at < 2 * Tiling::stages; ++at) {
        full(shared, at / 2, at % 2).init(Rows::scale_bytes != 0 ? 1 + 32 : 1);
        empty(shared, at / 2, at % 2).init(Tiling::warps);
      }
      publish_barriers();
    }
    __syncthreads();
  }

  DROUGHT_DEVICE static void foresee(const drought::DecodeArguments&, const Maps&, const DecodeShare&) {}

  DROUGHT_DEVICE SharedFeed(const drought::DecodeArguments& given, const Maps&, const DecodeWork& work,
                            const DecodeWalk& walk, std::uint32_t shared, Turn& turn)
      : given_(given),
        tokens_(given, work, walk),
        tiles_(walk.count),
        first_kv_head_(work.first_kv_head),
        warp_(static_cast<int>(threadIdx.x) / 32),
        lane_(static_cast<int>(threadIdx.x) % 32),
        shared_(shared),
        turn_(turn) {}

  DROUGHT_DEVICE void begin() {
    __syncthreads();  // All have done with the piece before.
    for (int i = 0; i < Tiling::stages; ++i)
      for (int part = keys; part <= values; ++part)
        if (brings(i, part)) {
          find(i);
          bring((turn_.stage + i) % Tiling::stages, part);
        }
  }
  DROUGHT_DEVICE DecodeTile take_keys(int i) {
    const int next = i + Tiling::stages;
    if (brings(next, keys) || brings(next, values)) find(next);
    full(shared_, turn_.stage, keys).wait(turn_.parity);
    const std::uint32_t at = shared_ + turn_.stage * Tiling::stage_bytes;
    return {tokens_.first_key(i), at + warp_ * Rows::row_bytes, at + 2 * Rows::tokens_bytes + warp_ * 4};
  }
  DROUGHT_DEVICE void give_keys(int i) {
    give(keys);
    if (i == 0) return;
    Turn before = turn_;
    before.back();
    bring_after(i - 1, before, values);
  }
  DROUGHT_DEVICE void take_values() { full(shared_, turn_.stage, values).wait(turn_.parity); }
  DROUGHT_DEVICE void give_values(int i) {
    give(values);
    bring_after(i, turn_, keys);
    turn_.next();
  }
  DROUGHT_DEVICE void end() {}

 private:
  static constexpr int keys = 0, values = 1;  // Parts of a tile.

  DROUGHT_DEVICE static Barrier full(std::uint32_t shared, int stage, int part) {
    return Barrier(shared + Tiling::barriers_at + 32 * stage + 8 * part);
  }
  DROUGHT_DEVICE static Barrier empty(std::uint32_t shared, int stage, int part) {
    return Barrier(shared + Tiling::barriers_at + 32 * stage + 16 + 8 * part);
  }

  DROUGHT_DEVICE void give(int part) const {
    __syncwarp();
    if (lane_ == 0) empty(shared_, turn_.stage, part).arrive();
  }

  /// Brings what follows that part of tile `i`, where this warp is to.
  DROUGHT_DEVICE void bring_after(int i, const Turn& turn, int part) const {
    if (!brings(i + Tiling::stages, part)) return;
    empty(shared_, turn.stage, part).wait(turn.parity);
    bring(turn.stage, part);
  }

  /// Whether this warp brings that part of tile `i`.
  DROUGHT_DEVICE bool brings(int i, int part) const {
    return i < tiles_ && (i + part * Tiling::warps / 2) % Tiling::warps == warp_;
  }
  /// The tokens of tile `i`, of which this warp brings a part next.
  DROUGHT_DEVICE void find(int i) {
    DROUGHT_UNROLL
    for (int half = 0; half < Rows::halves; ++half) found_[half] = tokens_.find(i, half * decode_tokens);
  }

  /// Asks for a part of the tile whose tokens were found last.
  DROUGHT_DEVICE void bring(int stage, int part) const {
    const Barrier landed = full(shared_, stage, part);
    const std::uint32_t to = shared_ + stage * Tiling::stage_bytes + part * Rows::tokens_bytes;
    int present = 0;
    DROUGHT_UNROLL
    for (int half = 0; half < Rows::halves; ++half) {
      if (found_[half] < 0 && part == values) clear(to + row_at(half));
      present += __popc(__ballot_sync(~0u, found_[half] >= 0) & (1u << decode_tokens) - 1);
    }
    __syncwarp();  // What was cleared is there for whoever sees that this tile has landed.
    if (lane_ == 0) landed.arrive_expecting(present * Rows::brought_bytes);
    __syncwarp();
    DROUGHT_UNROLL
    for (int half = 0; half < Rows::halves; ++half)
      bring_rows(to + half * Rows::half_bytes, found_[half], part, present == Rows::tile_tokens, landed);
    if constexpr (Rows::scale_bytes != 0) {
      const std::uint32_t scales =
          shared_ + stage * Tiling::stage_bytes + 2 * Rows::tokens_bytes + part * Rows::scale_bytes;
      DROUGHT_UNROLL
      for (int half = 0; half < Rows::halves; ++half) bring_scales(scales, found_[half], half, part);
      landed.arrive_after_copies();
    }
  }

  /// Where this lane's row among sixteen is.
  DROUGHT_DEVICE std::uint32_t row_at(int half) const {
    return half * Rows::half_bytes + Rows::token_at(lane_ % decode_tokens);
  }

  /// Where all are there and lie in the pool in the groups that they are to lie in, a group is one copy.
  DROUGHT_DEVICE void bring_rows(std::uint32_t to, int token, int part, bool all, Barrier landed) const {
    const auto* const pool = static_cast<const unsigned char*>(part == keys ? given_.k : given_.v) +
                             first_kv_head_ * Rows::row_bytes;
    const int token_bytes = given_.kv_heads * Rows::row_bytes;
    if (all && token_bytes == Rows::brought_bytes && given_.page_size % Rows::group_tokens == 0) {
      const int first = __shfl_sync(~0u, token, lane_ * Rows::group_tokens % decode_tokens);
      if (lane_ < Rows::groups)
        load_row(to + lane_ * Rows::group_bytes, row_of(pool, first, token_bytes),
                 Rows::group_tokens * Rows::brought_bytes, landed);
    } else if (lane_ < decode_tokens && token >= 0) {
      load_row(to + row_at(0), row_of(pool, token, token_bytes), Rows::brought_bytes, landed);
    }
  }

  DROUGHT_DEVICE void bring_scales(std::uint32_t to, int token, int half, int part) const {
    if (lane_ >= decode_tokens) return;
    const void* const from = row_of((part == keys ? given_.k_scales : given_.v_scales) + first_kv_head_,
                                    token, given_.kv_heads * 4);
    DROUGHT_UNROLL
    for (int piece = 0; piece < Rows::heads * 4; piece += 16)
      copy_16(to + (half * decode_tokens + lane_) * Rows::heads * 4 + piece,
              static_cast<const unsigned char*>(from) + piece, token >= 0);
  }

  /// The values of a key that is not there must be finite, for its weight is 0.
  DROUGHT_DEVICE static void clear(std::uint32_t row) {
    for (int i = 0; i < Rows::brought_bytes / 16; ++i)
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(row + i * 16), "r"(0) : "memory");
    publish_to_copies();
  }

  const drought::DecodeArguments& given_;
  const DecodeTokens tokens_;
  const int tiles_, first_kv_head_, warp_, lane_;
  const std::uint32_t shared_;
  Turn& turn_;
  int found_[Rows::halves];
};

}  // namespace drought::sm90
