// How rows of K and V come into shared memory, tiles ahead of the products: what all ways have in common, and
// the way that takes any page size, where a warp brings the rows of its head in copies of sixteen bytes. For
// nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/decode_pieces.hpp"
#include "kernels/sm90/decode_rows.hpp"

namespace drought::sm90 {

/// A power of two's division is a shift.
struct PageSize {
  int tokens, shift = -1;  // -1: not a power of two.
  DROUGHT_DEVICE explicit PageSize(int size) : tokens(size) {
    if ((size & (size - 1)) == 0) asm("bfind.u32 %0, %1;" : "=r"(shift) : "r"(size));
  }
  DROUGHT_DEVICE int page_of(int key) const { return shift >= 0 ? key >> shift : key / tokens; }
};

/// What the block does in one piece.
struct DecodeWork {
  DecodePiece piece;
  int first_kv_head;
  int first_row, rows;  // Query heads of each KV head that this block has, from first_row on.
  int group;            // That share a KV head.
};

/// What one of up to eight warps has of every piece: one KV head of the unit, and of its tiles every so many.
struct DecodeShare {
  int head, first = 0, tiles_log2 = 0;
  bool has_tiles = true;

  DROUGHT_DEVICE static DecodeShare of(int warp, int warps, int heads_at_once) {
    const int sharing = warps / heads_at_once;  // 8, 4, 2 or 1, however many heads there are.
    const int first = warp / heads_at_once;
    return {warp % heads_at_once, first, 31 - __clz(sharing), first < sharing};
  }
};

/// The tiles of 1 << tokens_log2 that one warp walks over: every so many keys of the piece, of one KV head.
struct DecodeWalk {
  int kv_head, first_key, stride, count;

  DROUGHT_DEVICE DecodeWalk(const DecodeWork& work, const DecodeShare& share, int tokens_log2)
      : kv_head(work.first_kv_head + share.head),
        first_key(work.piece.begin / decode_tokens * decode_tokens + (share.first << tokens_log2)),
        stride(1 << (share.tiles_log2 + tokens_log2)),
        count(0) {
    if (share.has_tiles && work.piece.begin < work.piece.end && first_key < work.piece.end)
      count = (work.piece.end - first_key + stride - 1) >> (share.tiles_log2 + tokens_log2);
  }
};

/// Nothing: what a feed has that needs no tensor maps.
struct DecodeNoMaps {};

/// How far a warp is in a ring of `stages` with a barrier each.
template <int stages>
struct DecodeTurn {
  int stage = 0, parity = 0;
  DROUGHT_DEVICE void next() {
    if (++stage < stages) return;
    stage = 0, parity ^= 1;
  }
  DROUGHT_DEVICE void back() {
    if (--stage >= 0) return;
    stage = stages - 1, parity ^= 1;
  }
};

/// A tile in shared memory, as one warp sees it: where its head's rows of K begin, of which V's are
/// tokens_bytes on, and the scales of its rows, of which V's are scale_bytes on.
struct DecodeTile {
  int first_key;
  std::uint32_t rows, scales;
};

/// Finds the pool's tokens: one for each lane, or the first of a tile.
class DecodeTokens {
 public:
  DROUGHT_DEVICE DecodeTokens(const drought::DecodeArguments& given, const DecodeWork& work,
                              const DecodeWalk& walk)
      : walk_(walk),
        begin_(work.piece.begin),
        end_(work.piece.end),
        page_(given.page_size),
        table_(given.page_table + static_cast<std::size_t>(work.piece.batch) * given.table_width) {}

  DROUGHT_DEVICE int first_key(int i) const { return walk_.first_key + i * walk_.stride; }

  /// The token of this lane's key among sixteen from `from` on of tile `i` of the walk, or -1.
  DROUGHT_DEVICE int find(int i, int from = 0) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int key = first_key(i) + from + lane % decode_tokens;
    if (i >= walk_.count || key < begin_ || key >= end_) return -1;
    return token_of(key);
  }

  /// The first token of tile `i`, or -1, where pages hold whole tiles.
  DROUGHT_DEVICE int find_tile(int i) const { return i < walk_.count ? token_of(first_key(i)) : -1; }

 private:
  DROUGHT_DEVICE int token_of(int key) const {
    const int page = page_.page_of(key);
    return table_[page] * page_.tokens + (key - page * page_.tokens);
  }

  const DecodeWalk& walk_;
  const int begin_, end_;
  const PageSize page_;
  const std::int32_t* const table_;
};

DROUGHT_DEVICE const void* row_of(const void* pool, int token, int token_bytes) {
  return static_cast<const unsigned char*>(pool) +
         static_cast<std::size_t>(token < 0 ? 0u : static_cast<unsigned>(token)) * token_bytes;
}

/// Zeros where it is not valid.
DROUGHT_DEVICE void copy_16(std::uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
DROUGHT_DEVICE void copy_4(std::uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(valid ? 4 : 0)
               : "memory");
}

/// A ring for each warp.
template <typename Tiling>
class OwnFeed {
 public:
  using Rows = typename Tiling::Rows;
  using Maps = DecodeNoMaps;
  struct Turn {};

  DROUGHT_DEVICE static void init(const Maps&, std::uint32_t) {}
  DROUGHT_DEVICE static void foresee(const drought::DecodeArguments&, const Maps&, const DecodeShare&) {}

  DROUGHT_DEVICE OwnFeed(const drought::DecodeArguments& given, const Maps&, const DecodeWork& work,
                         const DecodeWalk& walk, std::uint32_t shared, Turn&)
      : given_(given),
        tokens_(given, work, walk),
        tiles_(walk.count),
        kv_head_(walk.kv_head),
        lane_(static_cast<int>(threadIdx.x) % 32),
        ring_(shared + threadIdx.x / 32 * Tiling::ring_bytes) {
    const auto head_bytes = static_cast<std::uint32_t>(walk.kv_head * Rows::row_bytes);
    skip_ = head_bytes % 16;
    keys_ = static_cast<const unsigned char*>(given.k) + (head_bytes - skip_);
    values_ = static_cast<const unsigned char*>(given.v) + (head_bytes - skip_);
  }

  DROUGHT_DEVICE void begin() {
    token_ = tokens_.find(0);
    DROUGHT_UNROLL
    for (int stage = 0; stage < Tiling::stages - 1; ++stage) {
      bring(stage, stage);
      token_ = tokens_.find(stage + 1);
    }
  }

  /// Waits for tile `i` and asks for one more.
  DROUGHT_DEVICE DecodeTile take_keys(int i) {
    asm volatile("cp.async.wait_group %0;" ::"n"(Tiling::stages - 2) : "memory");
    __syncwarp();  // This stage is there for all lanes, and all have done with the one before.
    const int next = i + Tiling::stages - 1;
    bring(next, stage_ == 0 ? Tiling::stages - 1 : stage_ - 1);
    token_ = tokens_.find(next + 1);
    const std::uint32_t at = ring_ + stage_ * Tiling::stage_bytes;
    return {tokens_.first_key(i), at + skip_, at + 2 * Rows::tokens_bytes};
  }
  DROUGHT_DEVICE void give_keys(int) {}
  DROUGHT_DEVICE void take_values() {}
  DROUGHT_DEVICE void give_values(int) { stage_ = stage_ + 1 == Tiling::stages ? 0 : stage_ + 1; }
  DROUGHT_DEVICE void end() { asm volatile("cp.async.wait_all;" ::: "memory"); }

 private:
  DROUGHT_DEVICE static void copy(std::uint32_t to, const void* from, bool valid) {
    if constexpr (!Rows::is_plain) return copy_16(to, from, valid);  // A line would be other heads' too.
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
  }

  /// Issues the copies of tile `i`, whose tokens were found last. Zeros where there is no key.
  DROUGHT_DEVICE void bring(int i, int stage) {
    if (i < tiles_) {
      const std::uint32_t to = ring_ + stage * Tiling::stage_bytes;
      const int token_bytes = given_.kv_heads * Rows::row_bytes;
      constexpr int copies = decode_tokens * Rows::pieces;
      DROUGHT_UNROLL
      for (int first = 0; first < copies; first += 32) {
        const int at = first + lane_, row = at / Rows::pieces, piece = at % Rows::pieces * 16;
        const int token = __shfl_sync(~0u, token_, row % decode_tokens);
        if (copies % 32 != 0 && at >= copies) continue;
        const std::uint32_t place = to + row * Rows::group_bytes + piece;
        copy(place, row_of(keys_ + piece, token, token_bytes), token >= 0);
        copy(place + Rows::tokens_bytes, row_of(values_ + piece, token, token_bytes), token >= 0);
      }
      if constexpr (Rows::scale_bytes != 0) {
        const float* const scales = lane_ < decode_tokens ? given_.k_scales : given_.v_scales;
        const void* const from = row_of(scales + kv_head_, token_, given_.kv_heads * 4);
        copy_4(to + 2 * Rows::tokens_bytes + lane_ * 4, from, token_ >= 0);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  const drought::DecodeArguments& given_;
  const DecodeTokens tokens_;
  const int tiles_, kv_head_, lane_;
  const std::uint32_t ring_;
  std::uint32_t skip_;  // Bytes from the first copy to the row.
  const unsigned char *keys_, *values_;
  int token_ = -1, stage_ = 0;
};

}  // namespace drought::sm90
