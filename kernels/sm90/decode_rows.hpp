// Rows of K and V of sixteen tokens as they lie in shared memory, and the fragments that tensor cores take of
// them. The rows of a quantised cache stay what they are in memory; a lane turns the two bytes that it needs
// into two bf16 numbers, exactly, and the scales are applied to scores and weights instead of to elements.
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

DROUGHT_DEVICE std::uint32_t bf16_difference(std::uint32_t a, std::uint32_t b) {
  std::uint32_t difference;
  asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(difference) : "r"(a), "r"(b));
  return difference;
}

/// Bytes 0 and 1, or 2 and 3, of `bytes` as numbers. 0x43xx is 128 + xx for the seven bits below the sign;
/// 0x4300 and 0x4380, 128 and 256, are what a byte without and with a sign is above itself.
DROUGHT_DEVICE std::uint32_t signed_pair(std::uint32_t bytes, bool upper) {
  const std::uint32_t spread = __byte_perm(bytes, 0x43u, upper ? 0x4342 : 0x4140);
  return bf16_difference(spread & 0xff7fff7fu, spread & 0xff80ff80u);
}

/// The lowest four bits of either half, less 8. One instruction, which the compiler makes two of, puts them
/// into the number 128.
DROUGHT_DEVICE std::uint32_t nibble_pair(std::uint32_t halves) {
  constexpr int and_then_or = 0xea;
  std::uint32_t above;
  asm("lop3.b32 %0, %1, %2, %3, %4;"
      : "=r"(above)
      : "r"(halves), "r"(0x000f000fu), "r"(0x43004300u), "n"(and_then_or));
  return bf16_difference(above, 0x43084308u);
}

DROUGHT_DEVICE std::uint32_t fp8_pair(std::uint32_t bytes, bool upper) {
  std::uint32_t halves;
  const auto two = static_cast<std::uint16_t>(upper ? bytes >> 16 : bytes);
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(two));
  return bf16_pair(low_of<fp16>(halves), high_of<fp16>(halves));
}

/// How the rows of one cache type and length are brought, and where their bytes are.
template <typename Rows, int head_dim>
struct DecodeRows {
  static constexpr bool is_plain = Rows::type.is_plain;
  static constexpr bool is_nibbles = std::is_same_v<Rows, Q4_0Rows>;
  static constexpr bool is_fp8 = std::is_same_v<Rows, Fp8Rows>;
  static constexpr bool has_blocks = Rows::type.block == ggml_block;  // Each with a scale before it.
  static constexpr int row_bytes = static_cast<int>(Rows::type.row_bytes(head_dim));
  static constexpr int block_bytes = static_cast<int>(Rows::type.block_bytes);
  /// Copies are of sixteen aligned bytes, a row begins where it may: up to this far into the first.
  static constexpr int slack = 16 - std::gcd(row_bytes, 16);
  static constexpr int pieces = (row_bytes + slack + 15) / 16;
  /// An odd number of 16 bytes, so that eight rows lie in different banks.
  static constexpr int pitch = (pieces | 1) * 16;
  static constexpr int tokens_bytes = decode_tokens * pitch;
  static constexpr int scale_bytes = Rows::type.row_scales ? decode_tokens * 4 : 0;
  /// Weights must be scaled before they multiply V.
  static constexpr bool scales_weights = has_blocks || Rows::type.row_scales;
  static constexpr int weight_sets = has_blocks ? head_dim / ggml_block : 1;

  /// Where the bytes of element `i` of a row are, from the row's first.
  static constexpr int at(int i) {
    if constexpr (!has_blocks) return i;
    return i / ggml_block * block_bytes + 2 + (is_nibbles ? i % 16 : i % ggml_block);
  }

  /// Two neighbouring levels in the low or the high half of `bytes`.
  DROUGHT_DEVICE static std::uint32_t levels(std::uint32_t bytes, bool upper) {
    if constexpr (is_fp8) return fp8_pair(bytes, upper);
    return signed_pair(bytes, upper);
  }

  /// A = K: `steps` fragments, each 16 elements on, from element 16 * step. Rows begin at `first`.
  static constexpr int steps = has_blocks ? 2 : 1;
  DROUGHT_DEVICE static void keys(std::uint32_t (&a)[steps][4], std::uint32_t first, int step, int lane) {
    if constexpr (is_plain) {
      load_matrices<false>(a[0], first + lane % 16 * pitch + step * 32 + lane / 16 * 16);
    } else {
      const std::uint32_t row = first + lane / 4 * pitch + lane % 4 * 2;
      DROUGHT_UNROLL
      for (int i = 0; i < 4; ++i) {
        const std::uint32_t from = row + i % 2 * 8 * pitch;
        if constexpr (is_nibbles) {
          const std::uint32_t bytes = load_16(from + at(16 * step) + i / 2 * 8);
          const std::uint32_t halves = __byte_perm(bytes, 0, 0x4140);
          a[0][i] = nibble_pair(halves);
          a[1][i] = nibble_pair(halves >> 4);
        } else {
          DROUGHT_UNROLL
          for (int s = 0; s < steps; ++s)
            a[s][i] = levels(load_16(from + at(16 * (step + s)) + i / 2 * 8), false);
        }
      }
    }
  }

  /// A = V^T, alike. Of a quantised cache, rows g and g + 8 are elements 2 g and 2 g + 1.
  DROUGHT_DEVICE static void values(std::uint32_t (&a)[steps][4], std::uint32_t first, int step, int lane) {
    if constexpr (is_plain) {
      load_matrices<true>(a[0], first + (lane / 16 * 8 + lane % 8) * pitch + step * 32 + lane / 8 % 2 * 16);
    } else {
      const std::uint32_t rows = first + lane % 4 * 2 * pitch + lane / 4 * 2;
      DROUGHT_UNROLL
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t from = rows + half * 8 * pitch;
        if constexpr (is_nibbles) {
          const int byte = at(16 * step);
          const std::uint32_t both = load_16(from + byte) | load_16(from + pitch + byte) << 16;
          DROUGHT_UNROLL
          for (int s = 0; s < 2; ++s) {
            a[s][2 * half] = nibble_pair(both >> 4 * s);
            a[s][2 * half + 1] = nibble_pair(both >> (8 + 4 * s));
          }
        } else {
          DROUGHT_UNROLL
          for (int s = 0; s < steps; ++s) {
            const int byte = at(16 * (step + s));
            const std::uint32_t mixed =
                __byte_perm(load_16(from + byte), load_16(from + pitch + byte), 0x5140);
            a[s][2 * half] = levels(mixed, false);
            a[s][2 * half + 1] = levels(mixed, true);
          }
        }
      }
    }
  }

  /// The element of a value that is row g, or g + 8, of fragment `step`.
  DROUGHT_DEVICE static int element(int step, int lane, bool lower) {
    const int g = lane / 4;
    return step * 16 + (is_plain ? g + (lower ? 8 : 0) : 2 * g + (lower ? 1 : 0));
  }

  /// The scale of ggml block `block` of the row that begins at `row`.
  DROUGHT_DEVICE static float block_scale(std::uint32_t row, int block) {
    return to_float(fp16{static_cast<std::uint16_t>(load_16(row + block * block_bytes))});
  }
};

}  // namespace drought::sm90
