// CUDA's bodies of every kernel, a line each.
#include "harness/simt/cuda_launch.hpp"
#include "kernels/append_rows.hpp"
#include "kernels/checksum.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/embedding.hpp"
#include "kernels/gated_activation.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/sampling.hpp"
#include "kernels/vision_attention.hpp"

namespace drought {

template struct CudaBodies<PrefillVariants>;
template struct CudaBodies<DecodeVariants>;
template struct CudaBodies<VisionVariants>;
template struct CudaBodies<LinearVariants>;
template struct CudaBodies<NormVariants>;
template struct CudaBodies<ActivationVariants>;
template struct CudaBodies<EmbeddingVariants>;
template struct CudaBodies<AppendVariants>;
template struct CudaBodies<SamplingVariants>;
template struct CudaBodies<ChecksumVariants>;

}  // namespace drought
