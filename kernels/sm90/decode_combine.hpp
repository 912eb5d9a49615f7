// What becomes of the warps' results when a piece of Hopper's decode attention ends: the warps of one head
// merge, and where a schedule cut a unit into several pieces the last block to arrive weighs them all, in the
// order of the pieces, so that every run gives the same bits. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include "kernels/sm90/decode_attention.hpp"

namespace drought::sm90 {

/// Where the results of a piece belong, and how those of a unit's pieces are weighed.
template <typename Tiling>
class DecodeResults {
 public:
  using T = typename Tiling::T;
  static constexpr int head_dim = Tiling::head_dim;
  static constexpr int row_threads = head_dim / 4;  // Four elements each.

  DROUGHT_DEVICE DecodeResults(const drought::DecodeArguments& given, const DecodeWork& work)
      : given_(given), work_(work), unit_rows_(given.heads_at_once * work.group) {}

 protected:
  /// A query head's place in the workspace slot, and over the whole batch.
  DROUGHT_DEVICE std::size_t slot_row(int slot, int kv_head, int row) const {
    return static_cast<std::size_t>(slot) * unit_rows_ + (kv_head * work_.group + work_.first_row + row);
  }
  DROUGHT_DEVICE std::size_t head_of(int kv_head, int row) const {
    return static_cast<std::size_t>(work_.batch) * given_.heads +
           ((work_.first_kv_head + kv_head) * work_.group + work_.first_row + row);
  }

  /// What weighted sums are multiplied by, the sink counted among the weights.
  DROUGHT_DEVICE float share_of(std::size_t head, float2 weights) const {
    if (weights.y <= 0.0f) return 0.0f;
    if (!given_.sinks) return 1.0f / weights.y;
    const float sink = given_.sinks[head % given_.heads] * 1.44269504f, base = fmaxf(weights.x, sink);
    const float own = exp2_of(weights.x - base);
    return own / (weights.y * own + exp2_of(sink - base));
  }
  DROUGHT_DEVICE static float share_of_piece(float2 weights) {
    return weights.y > 0.0f ? 1.0f / weights.y : 0.0f;
  }
  DROUGHT_DEVICE static float lse_of(float2 weights) {
    return weights.y > 0.0f ? weights.x + log2_of(weights.y) : negative_infinity();
  }

  DROUGHT_DEVICE void write(int kv_head, int row, int column, float4 sum, float2 weights) const {
    const std::size_t head = head_of(kv_head, row);
    const float share = share_of(head, weights);
    uint2 packed;
    packed.x = pair_of(sum.x * share, sum.y * share, T{});
    packed.y = pair_of(sum.z * share, sum.w * share, T{});
    *reinterpret_cast<uint2*>(static_cast<T*>(given_.out) + head * head_dim + column) = packed;
  }

  DROUGHT_DEVICE static void add(float4& sum, float4 more, float weight) {
    sum.x += weight * more.x, sum.y += weight * more.y, sum.z += weight * more.z, sum.w += weight * more.w;
  }

  /// Whether this piece is the last of its unit to arrive at `counter`, and the others' results can be read.
  /// Leaves the count as it was at first.
  DROUGHT_DEVICE bool is_last(unsigned* counter) const {
    const auto last = static_cast<unsigned>(work_.piece.slots.count) - 1;
    return count_in_order(counter, last) == last;
  }

  /// Weighs all pieces of the unit for four elements of `rows` rows, `at_once` pieces at a time: as many
  /// loads under way as registers allow.
  template <int rows, int at_once>
  DROUGHT_DEVICE void combine(int kv_head, int first_row, int column) const {
    const DecodeSlots& slots = work_.piece.slots;
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
        const int slot = slots.first + (there ? first + piece : first) * slots.stride;
        const std::size_t place = slot_row(slot, kv_head, there ? first_row + r : first_row);
        lse[r][piece] = __ldcg(given_.split_lse + place);
        out[r][piece] = __ldcg(reinterpret_cast<const float4*>(given_.split_out + place * head_dim + column));
        if (!there) lse[r][piece] = negative_infinity();
      }
      DROUGHT_UNROLL
      for (int r = 0; r < rows; ++r) add_pieces(weights[r], sum[r], lse[r], out[r]);
    }
    DROUGHT_UNROLL
    for (int r = 0; r < rows; ++r)
      if (first_row + r < work_.rows) write(kv_head, first_row + r, column, sum[r], weights[r]);
  }

  template <int count>
  DROUGHT_DEVICE static void add_pieces(float2& weights, float4& sum, const float (&lse)[count],
                                        const float4 (&out)[count]) {
    float found = weights.x;
    DROUGHT_UNROLL
    for (int i = 0; i < count; ++i) found = fmaxf(found, lse[i]);
    const float rescale = exp2_of(weights.x - found);
    weights.x = found, weights.y *= rescale;
    sum.x *= rescale, sum.y *= rescale, sum.z *= rescale, sum.w *= rescale;
    DROUGHT_UNROLL
    for (int i = 0; i < count; ++i) {
      const float weight = exp2_of(lse[i] - found);
      weights.y += weight;
      add(sum, out[i], weight);
    }
  }

  const drought::DecodeArguments& given_;
  const DecodeWork& work_;
  const int unit_rows_;  // Query heads of a slot.
};

/// Of warps that share heads: what they found lies over their rings in shared memory, and the block merges
/// it.
template <typename Tiling>
class MergedResults : DecodeResults<Tiling> {
 public:
  using Base = DecodeResults<Tiling>;
  using Base::given_, Base::work_, Base::head_dim, Base::row_threads;

  DROUGHT_DEVICE MergedResults(const drought::DecodeArguments& given, const DecodeWork& work,
                               unsigned char* shared)
      : Base(given, work),
        out_(reinterpret_cast<float*>(shared)),
        sums_(reinterpret_cast<float2*>(shared + Tiling::sums_at)),
        is_last_(reinterpret_cast<int*>(shared + Tiling::rings_bytes)) {}

  /// Once no warp needs its ring.
  DROUGHT_DEVICE void take(const DecodeWarp<Tiling>& from, int warp) const {
    float* const out = out_ + warp * Tiling::columns * head_dim;
    from.results([&](int column, float2 weights, int one, float of_one, int two, float of_two) {
      if (threadIdx.x % 32 < 4) sums_of(warp)[column] = weights;
      out[column * head_dim + one] = of_one;
      out[column * head_dim + two] = of_two;
    });
  }

  /// After every warp's were taken.
  DROUGHT_DEVICE void end() const {
    const int rows = given_.heads_at_once * work_.rows;
    for (int i = static_cast<int>(threadIdx.x); i < rows * row_threads; i += Tiling::threads)
      merge(i / row_threads / work_.rows, i / row_threads % work_.rows, i % row_threads * 4);
    if (work_.piece.slots.count == 1 || !given_.arrivals || !arrive()) return;
    for (int i = static_cast<int>(threadIdx.x); i < rows * row_threads; i += Tiling::threads)
      this->template combine<1, Tiling::warps == 4 ? 34 : 8>(
          i / row_threads / work_.rows, i / row_threads % work_.rows, i % row_threads * 4);
  }

 private:
  DROUGHT_DEVICE float2* sums_of(int warp) const { return sums_ + warp * Tiling::columns; }

  DROUGHT_DEVICE void merge(int kv_head, int row, int column) const {
    float2 weights{decode_lowest, 0.0f};
    for (int warp = kv_head; warp < used_warps(); warp += given_.heads_at_once)
      weights.x = fmaxf(weights.x, sums_of(warp)[row].x);
    float4 sum{};
    for (int warp = kv_head; warp < used_warps(); warp += given_.heads_at_once) {
      const float2 own = sums_of(warp)[row];
      const float weight = exp2_of(own.x - weights.x);
      weights.y += weight * own.y;
      const float* const out = out_ + (warp * Tiling::columns + row) * head_dim + column;
      Base::add(sum, *reinterpret_cast<const float4*>(out), weight * given_.v_scale);
    }
    if (work_.piece.slots.count == 1) return this->write(kv_head, row, column, sum, weights);
    const std::size_t place = this->slot_row(work_.piece.slot, kv_head, row);
    const float share = Base::share_of_piece(weights);
    __stcg(reinterpret_cast<float4*>(given_.split_out + place * head_dim + column),
           {sum.x * share, sum.y * share, sum.z * share, sum.w * share});
    if (column == 0) __stcg(given_.split_lse + place, Base::lse_of(weights));
  }

  /// Warps that had a head, those of one head lying heads_at_once apart.
  DROUGHT_DEVICE int used_warps() const {
    return Tiling::warps / given_.heads_at_once * given_.heads_at_once;
  }

  DROUGHT_DEVICE bool arrive() const {
    __syncthreads();
    if (threadIdx.x == 0) {
      const std::size_t counter = static_cast<std::size_t>(work_.piece.unit) * gridDim.z + blockIdx.z;
      *is_last_ = this->is_last(given_.arrivals + counter);
    }
    __syncthreads();
    return *is_last_ != 0;
  }

  float* const out_;
  float2* const sums_;
  int* const is_last_;
};

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
    from.results([&](int row, float2 weights, int one, float of_one, int two, float of_two) {
      static_assert(!Tiling::Rows::is_plain, "elements one and two are neighbours");
      if (row >= work_.rows) return;
      if (is_whole) {
        const std::size_t head = this->head_of(warp_, row);
        const float share = this->share_of(head, weights) * given_.v_scale;
        auto* const out = static_cast<typename Base::T*>(given_.out) + head * head_dim + one;
        *reinterpret_cast<std::uint32_t*>(out) = pair_of(of_one * share, of_two * share, typename Base::T{});
      } else {
        const std::size_t place = this->slot_row(work_.piece.slot, warp_, row);
        const float share = Base::share_of_piece(weights) * given_.v_scale;
        __stcg(reinterpret_cast<float2*>(given_.split_out + place * head_dim + one),
               {of_one * share, of_two * share});
        if (one == 0) __stcg(given_.split_lse + place, Base::lse_of(weights));
      }
    });
    if (is_whole || !given_.arrivals || !arrive()) return;
    constexpr int rows = 4, lanes_rows = 32 / row_threads;
    for (int first = 0; first < work_.rows; first += rows * lanes_rows)
      if (first + lane_ / row_threads * rows < work_.rows)
        this->template combine<rows, 4>(warp_, first + lane_ / row_threads * rows, lane_ % row_threads * 4);
  }

 private:
  DROUGHT_DEVICE bool arrive() const {
    __syncwarp();
    int last = 0;
    if (lane_ == 0) {
      const std::size_t group = static_cast<std::size_t>(work_.piece.unit) * gridDim.z + blockIdx.z;
      last = this->is_last(given_.arrivals + group * Tiling::warps + warp_);
    }
    return __shfl_sync(~0u, last, 0) != 0;
  }

  const int warp_, lane_;
};

template <typename Tiling>
__global__ void __launch_bounds__(Tiling::threads, decode_blocks_per_sm)
    decode_attention(const __grid_constant__ drought::DecodeArguments given,
                     const __grid_constant__ typename Tiling::Feed::Maps maps) {
  extern __shared__ __align__(1024) unsigned char shared[];
  CudaContext context;
  using Feed = typename Tiling::Feed;
  const int groups = given.kv_heads / given.heads_at_once, group = given.heads / given.kv_heads;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first_row = static_cast<int>(blockIdx.z) * Tiling::columns;
  Feed::init(shared_address(shared));
  typename Feed::Turn turn;
  for_each_piece(context, given, [&](const DecodePiece& piece) {
    const DecodeWork work{piece,
                          piece.unit / groups,
                          piece.unit % groups * given.heads_at_once,
                          first_row,
                          min(Tiling::columns, group - first_row),
                          group};
    const DecodeWalk walk(work, warp, Tiling::warps, given.heads_at_once, Tiling::Rows::tile_tokens);
    Feed feed(given, maps, work, walk, shared_address(shared), turn);
    DecodeWarp<Tiling> own(given, work, walk);
    own.run(feed);
    if constexpr (Tiling::shares_rows) {
      WarpResults<Tiling>(given, work, warp).take(own);
    } else {
      __syncthreads();  // The rings are used up, and what follows lies over them.
      const MergedResults<Tiling> results(given, work, shared);
      results.take(own, warp);
      __syncthreads();
      results.end();
      publish_to_copies();
      __syncthreads();  // Before the next piece's copies.
    }
  });
}

}  // namespace drought::sm90
