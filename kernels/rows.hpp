// What kernels that give each row of a matrix to a block of four warps have in common: the block's sums and
// maxima, and the check of their shapes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"
#include "kernels/shape.hpp"

namespace drought {

inline constexpr int row_warps = 4;
inline constexpr unsigned row_threads = row_warps * warp_lanes;
/// Dynamic shared memory in which the warps of a block meet, from its start.
inline constexpr std::size_t row_shared_bytes = row_warps * sizeof(float);

/// Correctly rounded on both sides.
DROUGHT_ANYWHERE float square_root(float x) {
#if defined(__CUDA_ARCH__)
  return sqrtf(x);
#else
  return __builtin_sqrtf(x);
#endif
}

/// What all threads of the block bring, added up in an order that does not change; the same bits for all.
template <typename Context>
DROUGHT_DEVICE float sum_of_row(Context& context, float brought) {
  float values[1] = {brought};
  context.template reduce_sum<warp_lanes>(values);
  float* const met = context.template shared<float>(0, row_warps);
  context.sync();  // Nobody reads what met before.
  if (context.lane() == 0) met[context.warp()] = values[0];
  context.sync();
  float total = 0.0f;
  DROUGHT_UNROLL
  for (int warp = 0; warp < row_warps; ++warp) total += met[warp];
  return total;
}

/// The largest of what all threads of the block bring.
template <typename Context>
DROUGHT_DEVICE float largest_of_row(Context& context, float brought) {
  float values[1] = {brought};
  context.template reduce_max<warp_lanes>(values);
  float* const met = context.template shared<float>(0, row_warps);
  context.sync();
  if (context.lane() == 0) met[context.warp()] = values[0];
  context.sync();
  float largest = met[0];
  DROUGHT_UNROLL
  for (int warp = 1; warp < row_warps; ++warp) largest = largest < met[warp] ? met[warp] : largest;
  return largest;
}

/// Rows go to a grid's x, columns to an int.
inline void require_rows(std::size_t rows, std::size_t width) {
  require(rows > 0 && width > 0, "rows and width must not be 0");
  require(rows <= tokens_max && width <= tokens_max, "rows or width is more than 2^30");
}

inline std::string place_text(std::string_view part, std::size_t row, std::size_t column) {
  return std::string(part) + "[" + std::to_string(row) + "][" + std::to_string(column) + "]";
}

}  // namespace drought
