// CUDA's bodies of every kernel: a line each.
#include "harness/simt/cuda_launch.hpp"
#include "kernels/prefill_attention.hpp"

namespace drought {

template struct CudaBodies<PrefillVariants>;

}  // namespace drought
