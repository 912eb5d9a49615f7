// Reads device memory and does nothing else: what a kernel that must read its operands once is measured
// against.
#pragma once

#include <cstddef>

namespace drought {

/// Enqueues a read of `bytes` (a multiple of 16) on the legacy stream; `sink` takes one float. False when the
/// launch was refused or this build has no cuda lane.
#if defined(DROUGHT_HAS_CUDA)
bool enqueue_read(const void* data, std::size_t bytes, float* sink);
#else
inline bool enqueue_read(const void*, std::size_t, float*) { return false; }
#endif

}  // namespace drought
