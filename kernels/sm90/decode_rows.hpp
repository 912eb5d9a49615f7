// Rows of K and V of sixteen tokens as they lie in shared memory, and the fragments that tensor cores take of
// them. The rows of a quantised cache stay what they are in memory; a lane makes numbers of the bytes that it
// needs, exactly, in as few instructions as there are, for these are what such a cache's decode is bound by:
// what a number is above its element is taken off the sums, and scales are applied to scores and weights.
//
// The tokens are the rows of A = K for the scores and the depth of A = V^T for the output, so that the query
// heads are columns of both products and a lane's scores, weights and outputs belong to the same two heads.
// A lane is (g, c) = (lane / 4, lane % 4), as in the PTX ISA's fragments of m16n8k16. For nvcc alone.
#pragma once

#include <cstdint>
#include <numeric>
#include <type_traits>

#include "harness/simt/number.hpp"
#include "kernels/kv_cache.hpp"
#include "kernels/sm90/ptx.hpp"

namespace drought::sm90 {

inline constexpr int decode_tokens = 16;

DROUGHT_DEVICE void multiply_16x8(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                                  bf16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DROUGHT_DEVICE void multiply_16x8(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                                  fp16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DROUGHT_DEVICE std::uint32_t pair_of(float low, float high, bf16) { return bf16_pair(low, high); }
DROUGHT_DEVICE std::uint32_t pair_of(float low, float high, fp16) {
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <typename T>
DROUGHT_DEVICE float low_of(std::uint32_t pair) {
  return to_float(T{static_cast<std::uint16_t>(pair)});
}
template <typename T>
DROUGHT_DEVICE float high_of(std::uint32_t pair) {
  return to_float(T{static_cast<std::uint16_t>(pair >> 16)});
}

/// Exchanges rows and columns of an 8x8 matrix of 16-bit numbers that is spread over the warp.
DROUGHT_DEVICE std::uint32_t transposed(std::uint32_t pair) {
  std::uint32_t moved;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(moved) : "r"(pair));
  return moved;
}

template <bool transpose>
DROUGHT_DEVICE void load_matrices(std::uint32_t (&to)[4], std::uint32_t row_address) {
  if constexpr (transpose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row_address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row_address)
                 : "memory");
  }
}

DROUGHT_DEVICE std::uint32_t load_16(std::uint32_t address) {
  std::uint16_t bits;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(bits) : "r"(address) : "memory");
  return bits;
}

/// Four bytes, of which the first is at two, or at four where `aligned`.
DROUGHT_DEVICE std::uint32_t load_word(std::uint32_t address, bool aligned) {
  if (!aligned) return load_16(address) | load_16(address + 2) << 16;
  std::uint32_t word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}

/// The bits of either half that `mask` has, with the others from `rest`: one instruction.
DROUGHT_DEVICE std::uint32_t masked(std::uint32_t halves, std::uint32_t mask, std::uint32_t rest) {
  constexpr int and_then_xor = 0x6a;
  std::uint32_t made;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(made) : "r"(halves), "r"(mask), "r"(rest), "n"(and_then_xor));
  return made;
}

/// Bytes 0 and 1, or 2 and 3, of `bytes`.
DROUGHT_DEVICE std::uint32_t fp8_pair(std::uint32_t bytes, bool upper) {
  std::uint32_t halves;
  const auto two = static_cast<std::uint16_t>(upper ? bytes >> 16 : bytes);
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(two));
  return halves;
}

/// How the rows of one cache type and length are brought, those of `heads` together, and where bytes are.
/// `in_boxes`: rows are cut into chunks of 128 bytes, and a tile's chunks lie as the tensor memory
/// accelerator swizzles them. A tile is `halves` times sixteen tokens, of which each is multiplied by itself.
template <typename Rows, int head_dim, int heads_, bool in_boxes, int halves_>
struct DecodeRows {
  static constexpr int heads = heads_, halves = halves_, tile_tokens = halves * decode_tokens;
  static constexpr bool is_plain = Rows::type.is_plain;
  static constexpr bool is_nibbles = std::is_same_v<Rows, Q4_0Rows>;
  static constexpr bool is_fp8 = std::is_same_v<Rows, Fp8Rows>;
  static constexpr bool is_levels = !is_plain && !is_nibbles && !is_fp8;  // Signed bytes.
  static constexpr bool has_blocks = Rows::type.block == ggml_block;      // Each with a scale before it.
  /// What the products of keys and of values are taken in, of queries of type T.
  template <typename T>
  using Key = std::conditional_t<is_levels || is_fp8, fp16, T>;
  template <typename T>
  using Value = std::conditional_t<is_fp8, fp16, T>;
  static constexpr int row_bytes = static_cast<int>(Rows::type.row_bytes(head_dim));
  static constexpr int brought_bytes = heads * row_bytes;
  static constexpr int block_bytes = static_cast<int>(Rows::type.block_bytes);
  /// Copies are of sixteen aligned bytes, a row begins where it may: up to this far into the first.
  static constexpr int slack = 16 - std::gcd(brought_bytes, 16);
  static constexpr int pieces = (brought_bytes + slack + 15) / 16;
  /// Tokens that lie one after the other, as in the pool. Rows brought alone lie an odd number of sixteen
  /// bytes apart, and so in different banks. Rows brought together come round to the same bank after some
  /// tokens; twice as many are a group, and the next begins sixteen bytes further on among the banks.
  static constexpr int group_tokens = heads == 1 ? 1 : 256 / std::gcd(brought_bytes, 128);
  static constexpr int groups = decode_tokens / group_tokens;
  static constexpr int group_bytes = heads == 1 ? (pieces | 1) * 16 : group_tokens * brought_bytes + 16;
  static constexpr int chunk_bytes = decode_tokens * swizzle_bytes;
  static constexpr int half_bytes = in_boxes ? decode_tokens * brought_bytes : groups * group_bytes;
  static constexpr int tokens_bytes = halves * half_bytes;
  static_assert(!in_boxes || (is_plain && brought_bytes % swizzle_bytes == 0));
  static_assert(heads == 1 || (!is_plain && groups * group_tokens == decode_tokens && groups % 2 == 0));
  DROUGHT_DEVICE static constexpr int token_at(int token) {
    return token / group_tokens * group_bytes + token % group_tokens * brought_bytes;
  }

  /// Which token is row r of a product, of the upper eight rows, and how far on that of the lower row r + 8
  /// is: so that sixteen bytes each of eight rows, or 32 each of the four even ones, are in different banks.
  static constexpr int lower_tokens = heads == 1 ? 8 : group_tokens / 2;
  static constexpr int lower_bytes = heads == 1 ? 8 * group_bytes : lower_tokens * brought_bytes;
  DROUGHT_DEVICE static constexpr int token_of(int r) { return r % groups * group_tokens + r / groups; }
  static constexpr int scale_bytes = Rows::type.row_scales ? tile_tokens * heads * 4 : 0;
  /// Where piece `piece` of sixteen bytes of a token's row is, from the tile's first byte. In boxes a tile
  /// begins at swizzle_period_bytes, so that what differs from a lane's first piece is one exclusive or.
  DROUGHT_DEVICE static std::uint32_t place(int row, int piece) {
    if constexpr (!in_boxes) return row * group_bytes + piece * 16;
    return piece / 8 * chunk_bytes + row * swizzle_bytes + (piece % 8 ^ row % 8) * 16;
  }
  /// The same for piece 2 * step + `odd`, of the tile that begins at `first`.
  DROUGHT_DEVICE static std::uint32_t piece_at(std::uint32_t first, int row, int step, int odd) {
    if constexpr (!in_boxes) return first + place(row, odd) + step * 32;
    return ((first + place(row, odd)) ^ (step % 4 * 32)) + step / 4 * chunk_bytes;
  }

  /// Weights must be scaled before they multiply V.
  static constexpr bool scales_weights = has_blocks || Rows::type.row_scales;
  static constexpr int weight_sets = has_blocks ? head_dim / ggml_block : 1;

  /// Where the bytes of element `i` of a row are, from the row's first.
  static constexpr int at(int i) {
    if constexpr (!has_blocks) return i;
    return i / ggml_block * block_bytes + 2 + (is_nibbles ? i % 16 : i % ggml_block);
  }

  /// Which elements of a query lane c's keys of fragment `step` meet: the first of two, and how far on the
  /// second is. A lane takes four bytes of a quantised row, which give even and odd elements apart.
  static constexpr int query_stride = is_levels || is_nibbles ? 2 : 1;
  DROUGHT_DEVICE static int query_element(int step, int half, int c) {
    return step * 16 + (is_plain ? c * 2 + half * 8 : c * 4 + half * (3 - query_stride));
  }

  /// What an element is too much by in keys(): a byte with its sign turned is the low bits of the fp16 number
  /// 1024, a nibble those of the bf16 number 128.
  static constexpr float key_excess = is_levels ? 1152 : is_nibbles ? 136 : 0;

  /// A = K: `steps` fragments, each 16 elements on, from element 16 * step. Rows begin at `first`.
  static constexpr int steps = is_plain ? 1 : 2;
  DROUGHT_DEVICE static void keys(std::uint32_t (&a)[steps][4], std::uint32_t first, int step, int lane) {
    if constexpr (is_plain) {
      load_matrices<false>(a[0], piece_at(first, lane % 16, step, lane / 16));
    } else {
      DROUGHT_UNROLL
      for (int r = 0; r < 2; ++r) {
        const std::uint32_t row = first + token_at(token_of(lane / 4)) + r * lower_bytes + lane % 4 * 4;
        DROUGHT_UNROLL
        for (int s = 0; s < (is_nibbles ? 1 : steps); ++s) {
          const int place = at(16 * (step + s));
          const std::uint32_t word = load_word(row + place, place % 4 == 0);
          DROUGHT_UNROLL
          for (int half = 0; half < 2; ++half) {
            const std::uint32_t moved = word >> 8 * half;
            if constexpr (is_fp8) a[s][2 * half + r] = fp8_pair(word, half != 0);
            if constexpr (is_levels) a[s][2 * half + r] = masked(moved, 0x00ff00ffu, 0x64806480u);
            if constexpr (is_nibbles) {
              a[0][2 * half + r] = masked(moved, 0x000f000fu, 0x43004300u);
              a[1][2 * half + r] = masked(moved >> 4, 0x000f000fu, 0x43004300u);
            }
          }
        }
      }
    }
  }

  /// A = V^T, alike, of which value_part() gives the parts.
  DROUGHT_DEVICE static void values(std::uint32_t (&a)[steps][4], std::uint32_t first, int step, int lane) {
    if constexpr (is_plain) {
      load_matrices<true>(a[0], piece_at(first, lane / 16 * 8 + lane % 8, step, lane / 8 % 2));
    } else {
      const int place = at(16 * step);
      DROUGHT_UNROLL
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t row = first + token_at(token_of(lane % 4 * 2)) + half * lower_bytes + place;
        std::uint32_t both[2];  // The same bytes of two tokens.
        if constexpr (is_nibbles) {
          const std::uint32_t own = row + lane / 4 * 2;
          both[0] = load_16(own) | load_16(own + group_bytes) << 16;
          both[1] = both[0] >> 4;
        } else {
          const std::uint32_t own = row + lane / 4 * 4;
          const std::uint32_t one = load_word(own, place % 4 == 0),
                              two = load_word(own + group_bytes, place % 4 == 0);
          both[0] = __byte_perm(one, two, is_fp8 ? 0x5140 : 0x5410);
          both[1] = __byte_perm(one, two, is_fp8 ? 0x7362 : 0x7632);
        }
        DROUGHT_UNROLL
        for (int s = 0; s < 2; ++s) {
          a[s][2 * half] = is_fp8 ? fp8_pair(both[s], false) : both[s];
          a[s][2 * half + 1] = is_fp8 ? fp8_pair(both[s], true) : both[s] >> 8;
        }
      }
    }
  }

  /// A value is the sum of its parts, which the tensor cores add up: 128 and the lowest bits of a byte, less
  /// 128, or 256 where it has a sign; and of a nibble 128 and it, less 136. `less_136` is four times
  /// value_constant, in registers: of a literal the compiler would make a copy for every product.
  static constexpr int value_parts = is_levels || is_nibbles ? 2 : 1;
  static constexpr std::uint32_t value_constant = 0xc308c308u;
  DROUGHT_DEVICE static void value_part(std::uint32_t (&part)[4], const std::uint32_t (&a)[4],
                                        const std::uint32_t (&less_136)[4], int which) {
    DROUGHT_UNROLL
    for (int i = 0; i < 4; ++i) {
      part[i] = a[i];
      if constexpr (is_levels)
        part[i] =
            which == 0 ? masked(a[i], 0x007f007fu, 0x43004300u) : masked(a[i], 0x00800080u, 0xc300c300u);
      if constexpr (is_nibbles) part[i] = which == 0 ? masked(a[i], 0x000f000fu, 0x43004300u) : less_136[i];
    }
  }

  /// The element of a value that is row g, or g + 8, of fragment `step`.
  DROUGHT_DEVICE static int element(int step, int lane, bool lower) {
    const int g = lane / 4;
    if constexpr (is_plain) return step * 16 + g + (lower ? 8 : 0);
    if constexpr (is_nibbles) return step * 16 + 2 * g + (lower ? 1 : 0);
    return step / 2 * 32 + 4 * g + step % 2 * 2 + (lower ? 1 : 0);
  }

  /// The scale of ggml block `block` of the row that begins at `row`.
  DROUGHT_DEVICE static float block_scale(std::uint32_t row, int block) {
    return to_float(fp16{static_cast<std::uint16_t>(load_16(row + block * block_bytes))});
  }
};

}  // namespace drought::sm90
