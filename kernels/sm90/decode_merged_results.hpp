// What becomes of the results of warps that share heads, when a piece of Hopper's decode attention ends: the
// block merges them, and where a schedule cut a unit into several pieces the last block to arrive weighs them
// all, in their order, so that every run gives the same bits. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include "kernels/sm90/decode_results.hpp"

namespace drought::sm90 {

/// Of warps that share heads: each leaves what it found over its ring in shared memory, and the block merges
/// it.
template <typename Tiling>
class MergedResults : DecodeResults<Tiling> {
 public:
  using Base = DecodeResults<Tiling>;
  using Base::given_, Base::work_, Base::unit_rows_, Base::head_dim, Base::row_threads;

  DROUGHT_DEVICE MergedResults(const drought::DecodeArguments& given, const DecodeWork& work,
                               unsigned char* shared)
      : Base(given, work),
        shared_(shared),
        warp_(static_cast<int>(threadIdx.x) / 32),
        rows_(given.heads_at_once * work.rows) {}

  /// Once this warp does not need its ring.
  DROUGHT_DEVICE void take(const DecodeWarp<Tiling>& from) const {
    float* const out = outputs_of(warp_);
    from.results(work_.rows, [&](int column, float2 weights, int one, float of_one, int two, float of_two) {
      if (threadIdx.x % 32 < 4) sums_of(warp_)[column] = weights;
      out[column * Tiling::out_stride + one] = of_one;
      out[column * Tiling::out_stride + two] = of_two;
    });
  }

  /// After every warp's were taken. Each warp merges rows of its own from here on, and waits for no other.
  DROUGHT_DEVICE void end() const {
    constexpr int block_rows = Tiling::warps * warp_rows;
    constexpr int pieces_at_once = Tiling::warps == 8         ? 4  // As registers allow.
                                   : Tiling::column_tiles > 1 ? 8
                                                              : row_lanes;
    const int lane = static_cast<int>(threadIdx.x) % 32, own = warp_ * warp_rows + lane / row_lanes;
    for (int first = 0; first + own < rows_; first += block_rows) {
      const Row row = row_at(first + own);
      if (lane % row_lanes < row_threads) merge(row.kv_head, row.row, lane % row_lanes * 4);
    }
    if (work_.piece.slots.count == 1 || !given_.arrivals) return;
    // One lane for all that the warp merged at a time, so that all arrivals take as long as one.
    const int merged = lane * block_rows + warp_ * warp_rows;
    const Row row = row_at(merged);
    unsigned last = this->last_of(merged < rows_, row.kv_head, row.row);
    for (; last != 0; last &= last - 1) {
      const int mine = (__ffs(static_cast<int>(last)) - 1) * block_rows + own;
      const Row combined = row_at(min(mine, rows_ - 1));
      combine<pieces_at_once>(combined.kv_head, mine < rows_ ? combined.row : work_.rows);
    }
  }

 private:
  /// Lanes of a warp that have a row, four elements each where there are that many.
  static constexpr int row_lanes = row_threads <= 16 ? 16 : 32, warp_rows = 32 / row_lanes;
  static_assert(row_threads <= 32);

  struct Row {
    int kv_head, row;
  };
  DROUGHT_DEVICE Row row_at(int i) const {
    const int kv_head = given_.heads_at_once == 1 ? 0 : i / work_.rows;
    return {kv_head, i - kv_head * work_.rows};
  }
  DROUGHT_DEVICE float* outputs_of(int warp) const {
    return reinterpret_cast<float*>(shared_ + warp * Tiling::ring_bytes);
  }
  DROUGHT_DEVICE float2* sums_of(int warp) const {
    return reinterpret_cast<float2*>(outputs_of(warp) + Tiling::columns * Tiling::out_stride);
  }

  DROUGHT_DEVICE void merge(int kv_head, int row, int column) const {
    float2 own[Tiling::warps];
    float4 out[Tiling::warps];
    float2 weights{decode_lowest, 0.0f};
    DROUGHT_UNROLL
    for (int i = 0; i < Tiling::warps; ++i) {
      // Warps of one head lie heads_at_once apart; those that are too few for all heads have none.
      const bool there = (i + 1) * given_.heads_at_once <= Tiling::warps;
      const int warp = there ? kv_head + i * given_.heads_at_once : kv_head;
      own[i] = sums_of(warp)[row];
      out[i] = *reinterpret_cast<const float4*>(outputs_of(warp) + row * Tiling::out_stride + column);
      if (!there) own[i] = {decode_lowest, 0.0f}, out[i] = {};
      weights.x = fmaxf(weights.x, own[i].x);
    }
    float4 sum{};
    DROUGHT_UNROLL
    for (int i = 0; i < Tiling::warps; ++i) {
      const float weight = exp2_of(own[i].x - weights.x);
      weights.y += weight * own[i].y;
      Base::add(sum, out[i], weight * given_.v_scale);
    }
    if (work_.piece.slots.count == 1) return this->write(kv_head, row, column, sum, weights);
    const std::size_t place = this->slot_row(work_.piece.slot, kv_head, row);
    const float share = Base::share_of_piece(weights);
    __stcg(reinterpret_cast<float4*>(given_.split_out + place * head_dim + column),
           {sum.x * share, sum.y * share, sum.z * share, sum.w * share});
    if (column == 0) __stcg(given_.split_lse + place, Base::lse_of(weights));
  }

  /// Weighs all pieces of the unit for the row that this lane's row_lanes have: `at_once` pieces at a time,
  /// of each of which one lane has the weight. All lanes of a warp call it; a row that is not there is left
  /// out.
  template <int at_once>
  DROUGHT_DEVICE void combine(int kv_head, int row) const {
    static_assert(at_once <= row_lanes && at_once % 4 == 0);
    const DecodeSlots& slots = work_.piece.slots;
    const int lane = static_cast<int>(threadIdx.x) % row_lanes, column = min(lane, row_threads - 1) * 4;
    const std::size_t place = this->slot_row(slots.first, kv_head, min(row, work_.rows - 1));
    const float* const all_lse = given_.split_lse + place;
    const float* const all_out = given_.split_out + place * head_dim + column;
    float2 weights{decode_lowest, 0.0f};
    float4 sum{};
    for (int first = 0; first < slots.count; first += at_once) {
      const bool has_piece = lane < at_once && first + lane < slots.count;
      const float lse = has_piece ? __ldcg(all_lse + (first + lane) * unit_rows_) : negative_infinity();
      float4 out[at_once];
      DROUGHT_UNROLL
      for (int i = 0; i < at_once; ++i) {
        if (i % 4 == 0 && first + i >= slots.count) break;
        const int at = min(first + i, slots.count - 1) * unit_rows_;
        out[i] = __ldcg(reinterpret_cast<const float4*>(all_out + static_cast<std::size_t>(at) * head_dim));
      }
      const float weight = weigh(weights, sum, lse);
      DROUGHT_UNROLL
      for (int i = 0; i < at_once; ++i) {
        if (i % 4 == 0 && first + i >= slots.count) break;
        Base::add(sum, out[i], __shfl_sync(~0u, weight, i, row_lanes));
      }
    }
    if (row < work_.rows && lane < row_threads) this->write(kv_head, row, column, sum, weights);
  }

  /// Adds the weights of pieces, one in each lane of a row, to `weights`, and returns the lane's own.
  DROUGHT_DEVICE static float weigh(float2& weights, float4& sum, float lse) {
    float found = fmaxf(weights.x, lse);
    DROUGHT_UNROLL
    for (int mask = 1; mask < row_lanes; mask *= 2) found = fmaxf(found, __shfl_xor_sync(~0u, found, mask));
    const float rescale = exp2_of(weights.x - found), weight = exp2_of(lse - found);
    float added = weight;
    DROUGHT_UNROLL
    for (int mask = 1; mask < row_lanes; mask *= 2) added += __shfl_xor_sync(~0u, added, mask);
    weights = {found, weights.y * rescale + added};
    sum.x *= rescale, sum.y *= rescale, sum.z *= rescale, sum.w *= rescale;
    return weight;
  }

  unsigned char* const shared_;
  const int warp_, rows_;
};

}  // namespace drought::sm90
