// CUDA's bodies of every kernel, a line each.
#include "harness/simt/cuda_launch.hpp"
#include "kernels/checksum.hpp"
#include "kernels/decode_variants.hpp"
#include "kernels/kv_append_block.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/vision_attention.hpp"

namespace drought {

template struct CudaBodies<PrefillVariants>;
template struct CudaBodies<DecodeVariants>;
template struct CudaBodies<DecodeCombineVariants>;
template struct CudaBodies<VisionVariants>;
template struct CudaBodies<KvAppendVariants>;
template struct CudaBodies<ChecksumVariants>;

}  // namespace drought
