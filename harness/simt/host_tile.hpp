// The host's warp-tile matrix product: what 32 lanes brought is gathered, multiplied with vectors of
// eight floats, of AVX2 where the processor has it, and handed back. The lanes have told the sanitizers what
// they read, so the arithmetic itself is not instrumented, which would cost a factor of 40.
#pragma once

#include <cstdint>
#include <type_traits>

#include "harness/simt/host_block.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"

#define DROUGHT_LEAF __attribute__((no_sanitize("address", "thread", "undefined")))

namespace drought {

/// What one lane brings to a product.
template <typename T>
struct TileProduct {
  float* fragment;
  Tile<const T> a, b;
};

namespace host_tile {

using Float4 = float __attribute__((vector_size(16)));
using Float4Anywhere = float __attribute__((vector_size(16), aligned(4), may_alias));
using Word4 = std::uint32_t __attribute__((vector_size(16)));
using Half4Anywhere = std::uint16_t __attribute__((vector_size(8), aligned(2), may_alias));

DROUGHT_LEAF inline Float4 load(const float* from) { return *reinterpret_cast<const Float4Anywhere*>(from); }
DROUGHT_LEAF inline Float4 load(const bf16* from) {
  const Word4 wide = __builtin_convertvector(*reinterpret_cast<const Half4Anywhere*>(from), Word4) << 16;
  return reinterpret_cast<Float4>(wide);
}
/// Shifted into place, a half's exponent is 112 too small, which a product repairs exactly, also below the
/// normal range; only infinity and NaN must be told that their exponent is the largest.
DROUGHT_LEAF inline Float4 load(const fp16* from) {
  const Word4 bits = __builtin_convertvector(*reinterpret_cast<const Half4Anywhere*>(from), Word4);
  const Word4 magnitude = (bits & 0x7fffu) << 13;
  const Float4 scaled = reinterpret_cast<Float4>(magnitude) * 0x1p112f;
  const auto endless = reinterpret_cast<Word4>(magnitude >= 0x0f800000u) & 0x7f800000u;
  return reinterpret_cast<Float4>(reinterpret_cast<Word4>(scaled) | endless | (bits & 0x8000u) << 16);
}
DROUGHT_LEAF inline void store(float* to, Float4 value) { *reinterpret_cast<Float4Anywhere*>(to) = value; }

/// out = in^T for `rows` x `columns`, both multiples of 4.
template <int rows, int columns, typename T>
DROUGHT_LEAF inline void transpose(const T* in, int pitch, float* out) {
  for (int r = 0; r < rows; r += 4) {
    for (int c = 0; c < columns; c += 4) {
      const T* const from = in + r * pitch + c;
      const Float4 x0 = load(from), x1 = load(from + pitch), x2 = load(from + 2 * pitch),
                   x3 = load(from + 3 * pitch);
      const Float4 y0 = __builtin_shufflevector(x0, x1, 0, 4, 1, 5),
                   y1 = __builtin_shufflevector(x2, x3, 0, 4, 1, 5);
      const Float4 y2 = __builtin_shufflevector(x0, x1, 2, 6, 3, 7),
                   y3 = __builtin_shufflevector(x2, x3, 2, 6, 3, 7);
      store(out + c * rows + r, __builtin_shufflevector(y0, y1, 0, 1, 4, 5));
      store(out + (c + 1) * rows + r, __builtin_shufflevector(y0, y1, 2, 3, 6, 7));
      store(out + (c + 2) * rows + r, __builtin_shufflevector(y2, y3, 0, 1, 4, 5));
      store(out + (c + 3) * rows + r, __builtin_shufflevector(y2, y3, 2, 3, 6, 7));
    }
  }
}

template <int rows, int columns, typename T>
DROUGHT_LEAF inline void widen(const T* in, int pitch, float* out) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; c += 4) store(out + r * columns + c, load(in + r * pitch + c));
}

using Float8 = float __attribute__((vector_size(32)));
using Float8Anywhere = float __attribute__((vector_size(32), aligned(4), may_alias));

/// c += a * b, dense: a is 16 x depth, b depth x columns. Eight rows and eight columns at a time stay in
/// registers; every column sums in the same order, each product rounded by itself.
template <int depth, int columns>
DROUGHT_LEAF __attribute__((always_inline)) inline void multiply_rows(float* c, const float* a,
                                                                      const float* b) {
  constexpr int rows = 8;
  for (int n = 0; n < columns; n += 8) {
    for (int r = 0; r < tile_rows; r += rows) {
      Float8 sum[rows];
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i)
        sum[i] = *reinterpret_cast<const Float8Anywhere*>(c + (r + i) * columns + n);
      for (int k = 0; k < depth; ++k) {
        const Float8 row = *reinterpret_cast<const Float8Anywhere*>(b + k * columns + n);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) sum[i] += a[(r + i) * depth + k] * row;
      }
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i) *reinterpret_cast<Float8Anywhere*>(c + (r + i) * columns + n) = sum[i];
    }
  }
}

#if defined(__x86_64__)
/// The same bits: AVX2 has no product that is added without being rounded first.
template <int depth, int columns>
DROUGHT_LEAF __attribute__((target("avx2"))) void multiply_avx2(float* c, const float* a, const float* b) {
  multiply_rows<depth, columns>(c, a, b);
}
#endif

template <int depth, int columns>
DROUGHT_LEAF inline void multiply(float* c, const float* a, const float* b) {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return multiply_avx2<depth, columns>(c, a, b);
#endif
  multiply_rows<depth, columns>(c, a, b);
}

/// A lane's share of a dense 16 x columns matrix is pairs of neighbours; calls visit(pair of the fragment,
/// pair of the matrix) for each.
template <int columns, typename Visit>
DROUGHT_LEAF inline void each_pair(int lane, float* fragment, float* matrix, Visit visit) {
  for (int t = 0; t < columns / 8; ++t)
    for (int e = 0; e < 4; e += 2)
      visit(fragment + t * 4 + e,
            matrix + Fragment<columns>::row(lane, e) * columns + Fragment<columns>::column(lane, t, e));
}

}  // namespace host_tile

template <int depth, typename T, int columns, bool b_is_transposed>
DROUGHT_LEAF const char* multiply_leaf(HostBlock& block, void* const (&lanes)[warp_lanes]) {
  static_assert(depth % 8 == 0 && columns % 8 == 0);
  const auto& first = *static_cast<const TileProduct<T>*>(lanes[0]);
  float* const c = block.scratch(tile_rows * columns + tile_rows * depth + depth * columns);
  float* const a = c + tile_rows * columns;
  float* const b = a + tile_rows * depth;
  for (int lane = 0; lane < warp_lanes; ++lane) {
    const auto& mine = *static_cast<const TileProduct<T>*>(lanes[lane]);
    if (mine.a.data != first.a.data || mine.b.data != first.b.data)
      return "multiplies other tiles than its warp";
    host_tile::each_pair<columns>(lane, mine.fragment, c, [](const float* own, float* all) DROUGHT_LEAF {
      all[0] = own[0], all[1] = own[1];
    });
  }
  host_tile::widen<tile_rows, depth>(first.a.data, first.a.pitch, a);
  if constexpr (b_is_transposed) {
    host_tile::transpose<columns, depth>(first.b.data, first.b.pitch, b);
  } else {
    host_tile::widen<depth, columns>(first.b.data, first.b.pitch, b);
  }
  host_tile::multiply<depth, columns>(c, a, b);
  for (int lane = 0; lane < warp_lanes; ++lane) {
    float* const fragment = static_cast<const TileProduct<T>*>(lanes[lane])->fragment;
    host_tile::each_pair<columns>(lane, fragment, c, [](float* own, const float* all) DROUGHT_LEAF {
      own[0] = all[0], own[1] = all[1];
    });
  }
  return nullptr;
}

}  // namespace drought
