// The instructions that Hopper's attention is made of: barriers in shared memory, the tensor memory
// accelerator's copies, warpgroup matrix multiplies and their bookkeeping. For nvcc alone.
// Source: PTX ISA 8.x; the shared-memory descriptor of wgmma is its section "Matrix Descriptor Format".
#pragma once

#include <cuda.h>

#include <cstdint>

#include "harness/simt/config.hpp"

namespace drought::sm90 {

inline constexpr int warpgroup_threads = 128;
/// Rows of a swizzled tile are 128 B, whatever the tile's width; eight make the pattern's period.
inline constexpr int swizzle_bytes = 128;
inline constexpr int swizzle_period_bytes = 8 * swizzle_bytes;

DROUGHT_DEVICE std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// An mbarrier: a phase ends when `arrivals` and the expected bytes have come.
class Barrier {
 public:
  DROUGHT_DEVICE explicit Barrier(std::uint32_t address) : address_(address) {}
  DROUGHT_DEVICE void init(int arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address_), "r"(arrivals) : "memory");
  }
  DROUGHT_DEVICE void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address_) : "memory");
  }
  DROUGHT_DEVICE void arrive_expecting(int bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address_), "r"(bytes)
                 : "memory");
  }
  /// Arrives, counted as one that was to come, when this thread's cp.async copies so far have landed.
  DROUGHT_DEVICE void arrive_after_copies() const {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(address_) : "memory");
  }
  /// Returns once the phase of this parity has ended. A fresh barrier's phase before the first has parity 1.
  DROUGHT_DEVICE void wait(int parity) const {
    asm volatile(
        "{\n.reg .pred ended;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
        "@ended bra done;\nbra again;\ndone:\n}\n" ::"r"(address_),
        "r"(parity)
        : "memory");
  }
  DROUGHT_DEVICE std::uint32_t address() const { return address_; }

 private:
  std::uint32_t address_;
};

/// atomicInc, which what this thread wrote or knows of comes before and what it reads later comes after.
DROUGHT_DEVICE unsigned count_in_order(unsigned* counter, unsigned wraps_at) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(counter), "r"(wraps_at)
               : "memory");
  return before;
}

/// A launch that allows it may begin once all blocks of this one say so, or have ended.
DROUGHT_DEVICE void let_next_begin() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
/// Until the kernel before has ended, whatever it wrote is seen, and what it read may be written.
DROUGHT_DEVICE void wait_for_kernel_before() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

DROUGHT_DEVICE void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

/// Brings what is known of a tensor near, before a copy needs it.
DROUGHT_DEVICE void prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// Where a box of a four-dimensional tensor begins, the innermost dimension first.
struct Corner {
  int x = 0, y = 0, z = 0, w = 0;
};

/// What lies outside the tensor arrives as zeros.
DROUGHT_DEVICE void load_box(std::uint32_t to, const CUtensorMap& map, Barrier landed, Corner at) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
      "l"(&map), "r"(landed.address()), "r"(at.x), "r"(at.y), "r"(at.z), "r"(at.w)
      : "memory");
}
/// Brings a box as far as the L2 cache; what lies outside the tensor is let be.
DROUGHT_DEVICE void prefetch_box(const CUtensorMap& map, Corner at) {
  asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global [%0, {%1, %2, %3, %4}];" ::"l"(&map), "r"(at.x),
               "r"(at.y), "r"(at.z), "r"(at.w)
               : "memory");
}
/// What may be written meanwhile: good for a guess, and never kept in a cache that would not see it change.
DROUGHT_DEVICE int glimpse(const std::int32_t* at) {
  int seen;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(seen) : "l"(at));
  return seen;
}
/// `bytes` and both addresses are multiples of sixteen.
DROUGHT_DEVICE void load_row(std::uint32_t to, const void* from, int bytes, Barrier landed) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(landed.address())
      : "memory");
}
/// What lies outside the tensor is not written.
DROUGHT_DEVICE void store_box(const CUtensorMap& map, std::uint32_t from, Corner at) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
      "r"(from), "r"(at.x), "r"(at.y), "r"(at.z), "r"(at.w)
      : "memory");
}
/// Makes what this thread wrote to shared memory come before what copies read and write there later.
DROUGHT_DEVICE void publish_to_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// The thread's stores so far are what it waits for.
DROUGHT_DEVICE void stores_issued() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Until they have read their shared memory.
DROUGHT_DEVICE void wait_for_stores_to_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
DROUGHT_DEVICE void wait_for_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

/// bar.sync and bar.arrive: `threads` threads meet at barrier `id` of 16; an arriving one does not wait.
DROUGHT_DEVICE void meet(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
DROUGHT_DEVICE void pass(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

template <int registers>
DROUGHT_DEVICE void shrink_to() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
DROUGHT_DEVICE void grow_to() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

DROUGHT_DEVICE void multiplies_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DROUGHT_DEVICE void multiplies_issued() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most `left` issued groups are under way. `sums` is what they add up into: the compiler
/// must not use it earlier.
template <int left, int count>
DROUGHT_DEVICE void multiplies_end(float (&sums)[count]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
  DROUGHT_UNROLL
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

/// A tile in shared memory in rows of 128 swizzled bytes. `chunk_bytes`: from 64 columns to the next 64,
/// where a transposed operand is wider than one row.
DROUGHT_DEVICE std::uint64_t descriptor(std::uint32_t address, int chunk_bytes = 16) {
  constexpr std::uint64_t swizzle_128 = 1ull << 62;
  return (address & 0x3ffffu) >> 4 | static_cast<std::uint64_t>(chunk_bytes >> 4) << 16 |
         static_cast<std::uint64_t>(swizzle_period_bytes >> 4) << 32 | swizzle_128;
}

/// Four 8x8 matrices of 16-bit elements, from the registers that hold them after a multiply.
DROUGHT_DEVICE void store_matrices(std::uint32_t row_address, const std::uint32_t (&values)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address),
               "r"(values[0]), "r"(values[1]), "r"(values[2]), "r"(values[3])
               : "memory");
}

/// Of positive x: within a unit in the last place, and the logarithm within 2^-22, of itself where x is not
/// between 0.5 and 2. Source: PTX ISA, rcp.approx and lg2.approx.
DROUGHT_DEVICE float near_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DROUGHT_DEVICE float near_log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

DROUGHT_DEVICE std::uint32_t bf16_pair(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

}  // namespace drought::sm90
