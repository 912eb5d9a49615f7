// The smallest kernel there is: one byte touched by the GPU, after a while. It shows what an address is
// worth to a kernel, and that work is still running when a call says it waited.
#pragma once

#include <cstdint>

#include "harness/device/launch.hpp"

namespace drought {

/// The launch's arguments. The first thread of the grid spins for `cycles` of its own clock, then reads
/// or writes one byte at `address`; a read of address 0 touches nothing, a write goes through null.
struct CudaTouch {
  std::uint64_t address = 0;
  std::uint64_t cycles = 0;
  bool write = false;
  std::uint8_t value = 0;
  bool waits = false;  ///< The launch returns when the kernel has ended: the next call shows what it broke.
};

#if defined(DROUGHT_HAS_CUDA)
Status cuda_touch(const Launch& launch, void* stream);
#else
inline constexpr CudaBody cuda_touch = nullptr;
#endif

}  // namespace drought
