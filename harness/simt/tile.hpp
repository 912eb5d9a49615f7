// The operands of a warp's matrix multiplications. Tiles lie in shared memory; the accumulator is spread
// over the 32 lanes as mma.sync m16n8k16 spreads it, on both sides, so that a kernel may treat its elements.
#pragma once

#include "harness/simt/config.hpp"

namespace drought {

inline constexpr int warp_lanes = 32;
inline constexpr int tile_rows = 16;  ///< Rows of a warp's accumulator.

/// A row-major matrix in shared memory. Rows start at multiples of 16 bytes.
template <typename T>
struct Tile {
  T* data;
  int pitch;  ///< Elements from one row to the next.
};

/// One lane's share of a 16 x columns matrix of floats. Element [t][e] stands in row
/// lane / 4 + e / 2 * 8 and column t * 8 + lane % 4 * 2 + e % 2: each lane has two rows.
template <int columns>
struct Fragment {
  static_assert(columns % 8 == 0);
  static constexpr int tiles = columns / 8;
  float value[tiles][4];

  DROUGHT_ANYWHERE static int row(int lane, int element) { return lane / 4 + element / 2 * 8; }
  DROUGHT_ANYWHERE static int column(int lane, int tile, int element) {
    return tile * 8 + lane % 4 * 2 + element % 2;
  }
};

}  // namespace drought
