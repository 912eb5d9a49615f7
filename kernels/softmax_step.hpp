// The softmax of attention as every portable body takes it, a tile of keys at a time (Milakov and Gimelshein
// 2018): weights are relative to the largest score so far, and what was weighed before is made smaller when a
// larger one comes. Sixteen rows a warp, of which a thread has two.
#pragma once

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/config.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"

namespace drought {

/// Multiplies the thread's two rows.
template <int columns>
DROUGHT_DEVICE void scale_rows(Fragment<columns>& of, const float (&by)[2]) {
  DROUGHT_UNROLL
  for (int t = 0; t < Fragment<columns>::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) of.value[t][e] *= by[e / 2];
  }
}

/// One step of the softmax: scores, as base-2 exponents, become weights relative to the largest of their row
/// so far, and go to shared memory as T. Those of -infinity weigh nothing. `rescale` becomes by what that
/// makes smaller all that the rows have from the steps before.
template <int keys, typename T, typename Context>
DROUGHT_DEVICE void softmax_step(Context& context, Fragment<keys>& scores, Tile<T> weights,
                                 float (&largest)[2], float (&rescale)[2]) {
  using Scores = Fragment<keys>;
  const int lane = context.lane();
  const float before[2] = {largest[0], largest[1]};
  float base[2];
  DROUGHT_UNROLL
  for (int t = 0; t < Scores::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      largest[e / 2] = largest[e / 2] < scores.value[t][e] ? scores.value[t][e] : largest[e / 2];
  }
  context.template reduce_max<4>(largest);
  DROUGHT_UNROLL
  for (int r = 0; r < 2; ++r) {
    base[r] = largest[r] == negative_infinity() ? 0.0f : largest[r];
    rescale[r] = exp2_of(before[r] - base[r]);
  }
  DROUGHT_UNROLL
  for (int t = 0; t < Scores::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e) scores.value[t][e] = exp2_of(scores.value[t][e] - base[e / 2]);
  }
  DROUGHT_UNROLL
  for (int t = 0; t < Scores::tiles; ++t) {
    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      weights.data[Scores::row(lane, e) * weights.pitch + Scores::column(lane, t, e)] =
          from_float<T>(scores.value[t][e]);
  }
}

}  // namespace drought
