// CUDA's bodies of every kernel, a line each.
#include "harness/simt/cuda_launch.hpp"
#include "kernels/add_rows.hpp"
#include "kernels/checksum.hpp"
#include "kernels/decode_variants.hpp"
#include "kernels/embedding.hpp"
#include "kernels/gated_activation.hpp"
#include "kernels/kv_append_block.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm.hpp"
#include "kernels/patch_embedding.hpp"
#include "kernels/prefill_block.hpp"
#include "kernels/reference_attention.hpp"
#include "kernels/rope_block.hpp"
#include "kernels/sampling.hpp"

namespace drought {

template struct CudaBodies<PrefillVariants>;
template struct CudaBodies<ReferenceVariants>;
template struct CudaBodies<PatchEmbeddingVariants>;
template struct CudaBodies<RopeVariants>;
template struct CudaBodies<DecodeVariants>;
template struct CudaBodies<DecodeCombineVariants>;
template struct CudaBodies<KvAppendVariants>;
template struct CudaBodies<LinearVariants>;
template struct CudaBodies<NormVariants>;
template struct CudaBodies<ActivationVariants>;
template struct CudaBodies<EmbeddingVariants>;
template struct CudaBodies<AddRowsVariants>;
template struct CudaBodies<SamplingVariants>;
template struct CudaBodies<ChecksumVariants>;

}  // namespace drought
