// Where what a block of Hopper's decode attention finds belongs, and which of a unit's pieces is the last.
// For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include "kernels/sm90/decode_attention.hpp"

namespace drought::sm90 {

/// Where the results of a piece belong.
template <typename Tiling>
class DecodeResults {
 public:
  using T = typename Tiling::T;
  static constexpr int head_dim = Tiling::head_dim;
  static constexpr int row_threads = head_dim / 4;  // Four elements each.

  DROUGHT_DEVICE DecodeResults(const drought::DecodeArguments& given, const DecodeWork& work)
      : given_(given), work_(work), unit_rows_(given.heads_at_once * work.group) {}

 protected:
  /// A query head's place in the workspace slot, and among those of the sequence.
  DROUGHT_DEVICE std::size_t slot_row(int slot, int kv_head, int row) const {
    return static_cast<std::size_t>(slot) * unit_rows_ + (kv_head * work_.group + work_.first_row + row);
  }
  DROUGHT_DEVICE int head_of(int kv_head, int row) const {
    return (work_.first_kv_head + kv_head) * work_.group + work_.first_row + row;
  }
  DROUGHT_DEVICE T* out_of(int head) const {
    const std::size_t row = static_cast<std::size_t>(work_.piece.batch) * given_.heads + head;
    return static_cast<T*>(given_.out) + row * head_dim;
  }

  /// What weighted sums are multiplied by, the sink counted among the weights.
  DROUGHT_DEVICE float share_of(int head, float2 weights) const {
    if (weights.y <= 0.0f || !given_.sinks) return share_of_piece(weights);
    const float sink = given_.sinks[head] * 1.44269504f, base = fmaxf(weights.x, sink);
    const float own = exp2_of(weights.x - base);
    return own * near_reciprocal(weights.y * own + exp2_of(sink - base));
  }
  DROUGHT_DEVICE static float share_of_piece(float2 weights) {
    return weights.y > 0.0f ? near_reciprocal(weights.y) : 0.0f;
  }
  DROUGHT_DEVICE static float lse_of(float2 weights) {
    return weights.y > 0.0f ? weights.x + near_log2(weights.y) : negative_infinity();
  }

  DROUGHT_DEVICE void write(int kv_head, int row, int column, float4 sum, float2 weights) const {
    const int head = head_of(kv_head, row);
    const float share = share_of(head, weights);
    uint2 packed;
    packed.x = pair_of(sum.x * share, sum.y * share, T{});
    packed.y = pair_of(sum.z * share, sum.w * share, T{});
    *reinterpret_cast<uint2*>(out_of(head) + column) = packed;
  }

  DROUGHT_DEVICE static void add(float4& sum, float4 more, float weight) {
    sum.x += weight * more.x, sum.y += weight * more.y, sum.z += weight * more.z, sum.w += weight * more.w;
  }

  /// Which lanes of those that `arrive`, each for rows of its own from `row` of `kv_head` on, are the last of
  /// all pieces of the unit: what these found there can be read then. After the warp has written its own, by
  /// all of its lanes. Leaves the counts as they were at first.
  DROUGHT_DEVICE unsigned last_of(bool arrive, int kv_head, int row) const {
    __syncwarp();
    const auto last = static_cast<unsigned>(work_.piece.slots.count) - 1;
    unsigned* const counter = given_.arrivals + slot_row(work_.piece.unit, kv_head, row);
    const unsigned found = __ballot_sync(~0u, arrive && count_in_order(counter, last) == last);
    __syncwarp();
    return found;
  }

  const drought::DecodeArguments& given_;
  const DecodeWork& work_;
  const int unit_rows_;  // Query heads of a slot.
};

}  // namespace drought::sm90
