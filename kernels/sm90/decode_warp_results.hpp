// What becomes of the results of warps that have a head each, when a piece of Hopper's decode attention ends.
// For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include "kernels/sm90/decode_results.hpp"

namespace drought::sm90 {

/// Of a warp that has a head alone: it waits for no other, and the last to end combines the head's pieces.
template <typename Tiling>
class WarpResults : DecodeResults<Tiling> {
 public:
  using Base = DecodeResults<Tiling>;
  using Base::given_, Base::work_, Base::head_dim, Base::row_threads;

  DROUGHT_DEVICE WarpResults(const drought::DecodeArguments& given, const DecodeWork& work, int warp)
      : Base(given, work), warp_(warp), lane_(static_cast<int>(threadIdx.x) % 32) {}

  DROUGHT_DEVICE void take(const DecodeWarp<Tiling>& from) const {
    const bool is_whole = work_.piece.slots.count == 1;
    from.results(work_.rows, [&](int row, float2 weights, int one, float of_one, int, float of_two) {
      static_assert(!Tiling::Rows::is_plain, "elements one and two are neighbours");
      if (is_whole) {
        const int head = this->head_of(warp_, row);
        const float share = this->share_of(head, weights) * given_.v_scale;
        *reinterpret_cast<std::uint32_t*>(this->out_of(head) + one) =
            pair_of(of_one * share, of_two * share, typename Base::T{});
      } else {
        const std::size_t place = this->slot_row(work_.piece.slot, warp_, row);
        const float share = Base::share_of_piece(weights) * given_.v_scale;
        __stcg(reinterpret_cast<float2*>(given_.split_out + place * head_dim + one),
               {of_one * share, of_two * share});
        if (one == 0) __stcg(given_.split_lse + place, Base::lse_of(weights));
      }
    });
    if (is_whole || !given_.arrivals || this->last_of(lane_ == 0, warp_, 0) == 0) return;
    const int own = lane_ / row_threads * rows;
    for (int first = 0; first + own < work_.rows; first += rows * (32 / row_threads)) combine(first + own);
  }

 private:
  static constexpr int rows = 4, at_once = 4;  // As many loads under way as registers allow.

  /// Weighs all pieces of the unit for this lane's four elements of `rows` rows, `at_once` pieces at a time.
  DROUGHT_DEVICE void combine(int first_row) const {
    const DecodeSlots& slots = work_.piece.slots;
    const int column = lane_ % row_threads * 4;
    float2 weights[rows];
    float4 sum[rows] = {};
    DROUGHT_UNROLL
    for (int r = 0; r < rows; ++r) weights[r] = {decode_lowest, 0.0f};
    for (int first = 0; first < slots.count; first += at_once) {
      float lse[rows][at_once];
      float4 out[rows][at_once];
      DROUGHT_UNROLL
      for (int i = 0; i < rows * at_once; ++i) {
        const int r = i % rows, piece = i / rows;
        const bool there = first + piece < slots.count && first_row + r < work_.rows;
        const int slot = slots.first + (there ? first + piece : first);
        const std::size_t place = this->slot_row(slot, warp_, there ? first_row + r : first_row);
        lse[r][piece] = __ldcg(given_.split_lse + place);
        out[r][piece] = __ldcg(reinterpret_cast<const float4*>(given_.split_out + place * head_dim + column));
        if (!there) lse[r][piece] = negative_infinity();
      }
      DROUGHT_UNROLL
      for (int r = 0; r < rows; ++r) add_pieces(weights[r], sum[r], lse[r], out[r]);
    }
    DROUGHT_UNROLL
    for (int r = 0; r < rows; ++r)
      if (first_row + r < work_.rows) this->write(warp_, first_row + r, column, sum[r], weights[r]);
  }

  DROUGHT_DEVICE static void add_pieces(float2& weights, float4& sum, const float (&lse)[at_once],
                                        const float4 (&out)[at_once]) {
    float found = weights.x;
    DROUGHT_UNROLL
    for (int i = 0; i < at_once; ++i) found = fmaxf(found, lse[i]);
    const float rescale = exp2_of(weights.x - found);
    weights.x = found, weights.y *= rescale;
    sum.x *= rescale, sum.y *= rescale, sum.z *= rescale, sum.w *= rescale;
    DROUGHT_UNROLL
    for (int i = 0; i < at_once; ++i) {
      const float weight = exp2_of(lse[i] - found);
      weights.y += weight;
      Base::add(sum, out[i], weight);
    }
  }

  const int warp_, lane_;
};

}  // namespace drought::sm90
