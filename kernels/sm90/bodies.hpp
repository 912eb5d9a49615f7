// Hopper's own bodies of kernels, for the launches that a portable kernel hands over. This side is plain C++:
// the arguments, the geometry and which shapes there are; the rest is nvcc's.
#pragma once

#include <cstddef>

#include "harness/simt/launch.hpp"
#include "harness/simt/number.hpp"
#include "kernels/prefill_arguments.hpp"

namespace drought::sm90 {

struct PrefillArguments {
  drought::PrefillArguments<bf16> of;
  int total_queries, total_keys;  // Of all sequences.
  int head_dim, value_dim;
  unsigned* next_tile;  ///< A workspace of one count, 0 before and after each launch.
};

/// Threads and dynamic shared memory of the largest variant; the grid is the body's own choice.
inline constexpr unsigned prefill_threads = 512;
inline constexpr std::size_t prefill_shared_bytes = 227 * 1024;

/// Whether there is a body for these head sizes, and the body: null in a build without nvcc.
constexpr bool has_prefill(int head_dim, int value_dim) {
  if (head_dim == 192) return value_dim == 128;
  const bool known = head_dim == 64 || head_dim == 72 || head_dim == 80 || head_dim == 96 ||
                     head_dim == 128 || head_dim == 256;
  return known && value_dim == head_dim;
}
#if defined(DROUGHT_HAS_CUDA)
Status prefill_body(const Launch& launch, void* stream);
#else
inline constexpr CudaBody prefill_body = nullptr;
#endif

}  // namespace drought::sm90
