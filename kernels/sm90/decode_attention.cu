// The launch of Hopper's decode attention: the variant for the types and the number of query heads.
#include "kernels/sm90/decode_attention.hpp"

#include <cstring>

#include "kernels/sm90/decode_combine.hpp"

namespace drought::sm90 {
namespace {

template <typename Tiling>
Status run(const drought::DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  static const cudaError_t allowed = cudaFuncSetAttribute(
      decode_attention<Tiling>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tiling::shared_bytes);
  if (allowed != cudaSuccess) return static_cast<Status>(allowed);
  const int group = given.heads / given.kv_heads;
  const dim3 grid(launch.grid.x, 1, static_cast<unsigned>((group + Tiling::columns - 1) / Tiling::columns));
  decode_attention<Tiling><<<grid, Tiling::threads, Tiling::shared_bytes, stream>>>(given);
  return static_cast<Status>(cudaGetLastError());
}

/// Rows are brought together where every warp has a head and those of a token fill whole sixteen bytes.
template <typename T, typename Rows, int head_dim, int column_tiles>
Status run_feed(const drought::DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  using Shared = DecodeTiling<T, Rows, head_dim, column_tiles, true>;
  if constexpr (!Rows::type.is_plain && column_tiles == 1 && Shared::Rows::brought_bytes % 16 == 0)
    if (given.heads_at_once == Shared::warps) return run<Shared>(given, launch, stream);
  return run<DecodeTiling<T, Rows, head_dim, column_tiles, false>>(given, launch, stream);
}

/// More than eight query heads take two columns of products, and beyond sixteen several blocks.
template <typename T, typename Rows, int head_dim>
Status run_columns(const drought::DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  return given.heads / given.kv_heads <= decode_columns
             ? run_feed<T, Rows, head_dim, 1>(given, launch, stream)
             : run_feed<T, Rows, head_dim, 2>(given, launch, stream);
}

/// Runs the first variant that is the wanted one.
template <typename T, typename Rows, int head_dim>
bool run_if(Status& status, const DecodeArguments& given, const Launch& launch, cudaStream_t stream) {
  constexpr std::uint64_t variant = decode_variant(NumberTraits<T>::name, Rows::type.name, head_dim);
  static_assert(variant != 0);
  if (given.variant != variant) return false;
  status = run_columns<T, Rows, head_dim>(given.of, launch, stream);
  return true;
}

}  // namespace

Status decode_body(const Launch& launch, void* stream) {
  if (launch.arguments_bytes != sizeof(DecodeArguments)) return Status::invalid_value;
  DecodeArguments given;
  std::memcpy(&given, launch.arguments, sizeof given);
  const auto queue = static_cast<cudaStream_t>(stream);
  Status status = Status::invalid_value;
  const bool ran = run_if<bf16, PlainRows<bf16>, 64>(status, given, launch, queue) ||
                   run_if<bf16, PlainRows<bf16>, 80>(status, given, launch, queue) ||
                   run_if<bf16, PlainRows<bf16>, 96>(status, given, launch, queue) ||
                   run_if<bf16, PlainRows<bf16>, 128>(status, given, launch, queue) ||
                   run_if<fp16, PlainRows<fp16>, 64>(status, given, launch, queue) ||
                   run_if<fp16, PlainRows<fp16>, 128>(status, given, launch, queue) ||
                   run_if<bf16, Fp8Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Fp8Rows, 128>(status, given, launch, queue) ||
                   run_if<bf16, Int8Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Int8Rows, 128>(status, given, launch, queue) ||
                   run_if<bf16, Q8_0Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Q8_0Rows, 128>(status, given, launch, queue) ||
                   run_if<bf16, Q4_0Rows, 64>(status, given, launch, queue) ||
                   run_if<bf16, Q4_0Rows, 128>(status, given, launch, queue);
  return ran ? status : Status::invalid_value;
}

}  // namespace drought::sm90
