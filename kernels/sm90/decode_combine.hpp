// What becomes of the warps' results when a piece of Hopper's decode attention ends: the warps of one head
// merge, and where a schedule cut a unit into several pieces the last block to arrive weighs them all, in the
// order of the pieces, so that every run gives the same bits. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include "kernels/sm90/decode_attention.hpp"

namespace drought::sm90 {

template <typename Tiling>
class DecodeEnd {
 public:
  using T = typename Tiling::T;
  static constexpr int head_dim = Tiling::head_dim;
  static constexpr int row_threads = head_dim / 4;  // Four elements each.

  DROUGHT_DEVICE DecodeEnd(const drought::DecodeArguments& given, const DecodeWork& work,
                           unsigned char* shared)
      : given_(given),
        work_(work),
        out_(reinterpret_cast<float*>(shared)),
        sums_(reinterpret_cast<float2*>(shared + Tiling::sums_at)),
        is_last_(reinterpret_cast<int*>(shared + Tiling::rings_bytes)),
        unit_rows_(given.heads_at_once * work.group) {}

  DROUGHT_DEVICE float* out_of(int warp) const { return out_ + warp * Tiling::columns * head_dim; }
  DROUGHT_DEVICE float2* sums_of(int warp) const { return sums_ + warp * Tiling::columns; }

  /// After every warp has handed in.
  DROUGHT_DEVICE void run() const {
    const int rows = given_.heads_at_once * work_.rows;
    for (int i = static_cast<int>(threadIdx.x); i < rows * row_threads; i += Tiling::threads)
      merge(i / row_threads / work_.rows, i / row_threads % work_.rows, i % row_threads * 4);
    if (work_.piece.slots.count == 1 || !given_.arrivals || !arrive()) return;
    for (int i = static_cast<int>(threadIdx.x); i < rows * row_threads; i += Tiling::threads)
      combine(i / row_threads / work_.rows, i / row_threads % work_.rows, i % row_threads * 4);
  }

 private:
  /// A query head's place in the workspace slot, and over the whole batch.
  DROUGHT_DEVICE std::size_t slot_row(int slot, int kv_head, int row) const {
    return static_cast<std::size_t>(slot) * unit_rows_ + (kv_head * work_.group + work_.first_row + row);
  }
  DROUGHT_DEVICE std::size_t head_of(int kv_head, int row) const {
    return static_cast<std::size_t>(work_.batch) * given_.heads +
           ((work_.first_kv_head + kv_head) * work_.group + work_.first_row + row);
  }

  /// Adds the sink, divides, and writes four elements.
  DROUGHT_DEVICE void write(int kv_head, int row, int column, float4 sum, float largest, float total) const {
    const std::size_t head = head_of(kv_head, row);
    float share = total > 0.0f ? 1.0f / total : 0.0f;
    if (given_.sinks && total > 0.0f) {
      const float sink = given_.sinks[head % given_.heads] * 1.44269504f, base = fmaxf(largest, sink);
      const float own = exp2_of(largest - base);
      share = own / (total * own + exp2_of(sink - base));
    }
    uint2 packed;
    packed.x = pair_of(sum.x * share, sum.y * share, T{});
    packed.y = pair_of(sum.z * share, sum.w * share, T{});
    *reinterpret_cast<uint2*>(static_cast<T*>(given_.out) + head * head_dim + column) = packed;
  }

  DROUGHT_DEVICE static void add(float4& sum, float4 more, float weight) {
    sum.x += weight * more.x, sum.y += weight * more.y, sum.z += weight * more.z, sum.w += weight * more.w;
  }

  DROUGHT_DEVICE void merge(int kv_head, int row, int column) const {
    float largest = decode_lowest, total = 0.0f;
    for (int warp = kv_head; warp < used_warps(); warp += given_.heads_at_once)
      largest = fmaxf(largest, sums_of(warp)[row].x);
    float4 sum{};
    for (int warp = kv_head; warp < used_warps(); warp += given_.heads_at_once) {
      const float2 own = sums_of(warp)[row];
      const float weight = exp2_of(own.x - largest);
      total += weight * own.y;
      add(sum, *reinterpret_cast<const float4*>(out_of(warp) + row * head_dim + column), weight);
    }
    // Here, for the pieces may be combined by a launch that knows no scale.
    sum.x *= given_.v_scale, sum.y *= given_.v_scale, sum.z *= given_.v_scale, sum.w *= given_.v_scale;
    if (work_.piece.slots.count == 1) return write(kv_head, row, column, sum, largest, total);
    const std::size_t place = slot_row(work_.piece.slot, kv_head, row);
    const float share = total > 0.0f ? 1.0f / total : 0.0f;
    __stcg(reinterpret_cast<float4*>(given_.split_out + place * head_dim + column),
           {sum.x * share, sum.y * share, sum.z * share, sum.w * share});
    if (column == 0)
      __stcg(given_.split_lse + place, total > 0.0f ? largest + log2_of(total) : negative_infinity());
  }

  /// Warps that had a head, those of one head lying heads_at_once apart.
  DROUGHT_DEVICE int used_warps() const {
    return Tiling::warps / given_.heads_at_once * given_.heads_at_once;
  }

  /// Whether this block is the last to finish a piece of its unit. Leaves the count as it was at first.
  DROUGHT_DEVICE bool arrive() const {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned* const arrivals =
          given_.arrivals + static_cast<std::size_t>(work_.piece.unit) * gridDim.z + blockIdx.z;
      const auto count = static_cast<unsigned>(work_.piece.slots.count);
      *is_last_ = atomicInc(arrivals, count - 1) == count - 1;
      __threadfence();
    }
    __syncthreads();
    return *is_last_ != 0;
  }

  /// Weighs all pieces of the unit, a batch of loads at a time.
  DROUGHT_DEVICE void combine(int kv_head, int row, int column) const {
    constexpr int at_once = 12;
    const DecodeSlots& slots = work_.piece.slots;
    float largest = decode_lowest, total = 0.0f;
    float4 sum{};
    for (int first = 0; first < slots.count; first += at_once) {
      float lse[at_once];
      float4 out[at_once];
      DROUGHT_UNROLL
      for (int i = 0; i < at_once; ++i) {
        const bool there = first + i < slots.count;
        const std::size_t place =
            slot_row(slots.first + (there ? first + i : first) * slots.stride, kv_head, row);
        lse[i] = __ldcg(given_.split_lse + place);
        out[i] = __ldcg(reinterpret_cast<const float4*>(given_.split_out + place * head_dim + column));
        if (!there) lse[i] = negative_infinity();
      }
      float found = largest;
      DROUGHT_UNROLL
      for (int i = 0; i < at_once; ++i) found = fmaxf(found, lse[i]);
      const float rescale = exp2_of(largest - found);
      largest = found, total *= rescale;
      sum.x *= rescale, sum.y *= rescale, sum.z *= rescale, sum.w *= rescale;
      DROUGHT_UNROLL
      for (int i = 0; i < at_once; ++i) {
        const float weight = exp2_of(lse[i] - largest);
        total += weight;
        add(sum, out[i], weight);
      }
    }
    write(kv_head, row, column, sum, largest, total);
  }

  const drought::DecodeArguments& given_;
  const DecodeWork& work_;
  float* const out_;
  float2* const sums_;
  int* const is_last_;
  const int unit_rows_;  // Query heads of a slot.
};

template <typename Tiling>
__global__ void __launch_bounds__(Tiling::threads, decode_blocks_per_sm)
    decode_attention(const __grid_constant__ drought::DecodeArguments given) {
  extern __shared__ __align__(128) unsigned char shared[];
  CudaContext context;
  const int groups = given.kv_heads / given.heads_at_once, group = given.heads / given.kv_heads;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first_row = static_cast<int>(blockIdx.z) * Tiling::columns;
  for_each_piece(context, given, [&](const DecodePiece& piece) {
    const DecodeWork work{piece,
                          piece.unit / groups,
                          piece.unit % groups * given.heads_at_once,
                          first_row,
                          min(Tiling::columns, group - first_row),
                          group};
    const DecodeEnd<Tiling> end(given, work, shared);
    DecodeWarp<Tiling> own(given, work, shared_address(shared) + warp * Tiling::ring_bytes, warp);
    own.run();
    __syncthreads();  // The rings are used up, and what follows lies over them.
    own.hand_in(end.out_of(warp), end.sums_of(warp));
    __syncthreads();
    end.run();
    __syncthreads();  // Before the next piece's copies.
  });
}

}  // namespace drought::sm90
