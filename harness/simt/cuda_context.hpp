// The execution context on a GPU: HostContext's members, as CUDA and PTX for sm_80 and later. bf16 and fp16
// tiles are multiplied by mma.sync m16n8k16 with ldmatrix; floats by fused multiply-adds on the same
// fragments. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "harness/device/launch.hpp"
#include "harness/simt/arithmetic.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"

namespace drought {

class CudaContext {
 public:
  DROUGHT_DEVICE Dim3 block() const { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
  DROUGHT_DEVICE Dim3 grid() const { return {gridDim.x, gridDim.y, gridDim.z}; }
  DROUGHT_DEVICE int thread() const {
    return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  }
  DROUGHT_DEVICE int lane() const { return thread() % warp_lanes; }
  DROUGHT_DEVICE int warp() const { return thread() / warp_lanes; }

  template <typename T>
  using Global = T*;

  template <typename T>
  DROUGHT_DEVICE Global<T> global(T* data) {
    return data;
  }

  template <typename T>
  DROUGHT_DEVICE T* shared(std::size_t offset, std::size_t) {
    extern __shared__ __align__(128) unsigned char dynamic[];
    return reinterpret_cast<T*>(dynamic + offset);
  }

  DROUGHT_DEVICE void sync() { __syncthreads(); }
  DROUGHT_DEVICE void sync_warp() { __syncwarp(); }

  DROUGHT_DEVICE void require(bool holds) {
    if (!holds) __trap();
  }

  template <typename T>
  DROUGHT_DEVICE T shuffle(T value, int from) {
    return __shfl_sync(0xffffffffu, value, from);
  }
  template <typename T>
  DROUGHT_DEVICE T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }

  template <int width, int count>
  DROUGHT_DEVICE void reduce_max(float (&values)[count]) {
    DROUGHT_UNROLL
    for (int offset = width / 2; offset > 0; offset /= 2) {
      DROUGHT_UNROLL
      for (int i = 0; i < count; ++i) {
        const float other = shuffle_xor(values[i], offset);
        values[i] = values[i] < other ? other : values[i];
      }
    }
  }
  template <int width, int count>
  DROUGHT_DEVICE void reduce_sum(float (&values)[count]) {
    DROUGHT_UNROLL
    for (int offset = width / 2; offset > 0; offset /= 2) {
      DROUGHT_UNROLL
      for (int i = 0; i < count; ++i) values[i] += shuffle_xor(values[i], offset);
    }
  }

  template <typename T>
  DROUGHT_DEVICE T atomic_add(Global<T> view, std::size_t i, T value) {
    return atomicAdd(view + i, value);
  }
  template <typename T>
  DROUGHT_DEVICE T atomic_max(Global<T> view, std::size_t i, T value) {
    return atomicMax(view + i, value);
  }

  template <typename T>
  DROUGHT_DEVICE void copy_async(T* to, Global<const T> from, std::size_t i, bool valid) {
    const int bytes = valid ? 16 : 0;  // The rest is written as zeros, and nothing is read.
    const T* const source = valid ? from + i : from;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(source),
                 "r"(bytes)
                 : "memory");
  }
  DROUGHT_DEVICE void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int groups_left>
  DROUGHT_DEVICE void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
  }

  template <int depth, typename T, int columns>
  DROUGHT_DEVICE void multiply_by_transposed(Fragment<columns>& c, Tile<const T> a, Tile<const T> b) {
    multiply<depth, columns, true>(c, a, b);
  }
  template <int depth, typename T, int columns>
  DROUGHT_DEVICE void multiply_by(Fragment<columns>& c, Tile<const T> a, Tile<const T> b) {
    multiply<depth, columns, false>(c, a, b);
  }

 private:
  DROUGHT_DEVICE static std::uint32_t shared_address(const void* pointer) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
  }

  DROUGHT_DEVICE static void multiply_add(float (&d)[4], const std::uint32_t (&x)[4],
                                          const std::uint32_t (&y)[2], bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
  }
  DROUGHT_DEVICE static void multiply_add(float (&d)[4], const std::uint32_t (&x)[4],
                                          const std::uint32_t (&y)[2], fp16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
  }

  template <int depth, int columns, bool b_is_transposed, typename T>
  DROUGHT_DEVICE void multiply(Fragment<columns>& c, Tile<const T> a, Tile<const T> b) {
    static_assert(depth % 16 == 0 && sizeof(T) == 2, "mma.sync takes 16-bit numbers sixteen deep");
    const int at = lane();
    DROUGHT_UNROLL
    for (int k = 0; k < depth; k += 16) {
      std::uint32_t x[4], y[2];
      const std::uint32_t from_a = shared_address(a.data + (at % 16) * a.pitch + k + at / 16 * 8);
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                   : "r"(from_a)
                   : "memory");
      DROUGHT_UNROLL
      for (int t = 0; t < columns / 8; ++t) {
        if constexpr (b_is_transposed) {
          const std::uint32_t from_b =
              shared_address(b.data + (t * 8 + at % 8) * b.pitch + k + at / 8 % 2 * 8);
          asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                       : "=r"(y[0]), "=r"(y[1])
                       : "r"(from_b)
                       : "memory");
        } else {
          const std::uint32_t from_b = shared_address(b.data + (k + at % 16) * b.pitch + t * 8);
          asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                       : "=r"(y[0]), "=r"(y[1])
                       : "r"(from_b)
                       : "memory");
        }
        multiply_add(c.value[t], x, y, T{});
      }
    }
  }

  template <int depth, int columns, bool b_is_transposed>
  DROUGHT_DEVICE void multiply(Fragment<columns>& c, Tile<const float> a, Tile<const float> b) {
    const int at = lane(), row = Fragment<columns>::row(at, 0);
#pragma unroll 4
    for (int k = 0; k < depth; ++k) {
      const float x0 = a.data[row * a.pitch + k], x1 = a.data[(row + 8) * a.pitch + k];
      DROUGHT_UNROLL
      for (int t = 0; t < columns / 8; ++t) {
        DROUGHT_UNROLL
        for (int e = 0; e < 2; ++e) {
          const int n = Fragment<columns>::column(at, t, e);
          const float y = b_is_transposed ? b.data[n * b.pitch + k] : b.data[k * b.pitch + n];
          c.value[t][e] = fmaf(x0, y, c.value[t][e]);
          c.value[t][e + 2] = fmaf(x1, y, c.value[t][e + 2]);
        }
      }
    }
  }
};

}  // namespace drought
