#include "kernels/catalogue.hpp"

#include <array>
#include <sstream>

#include "harness/simt/host_launch.hpp"
#include "kernels/add_rows.hpp"
#include "kernels/checksum.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/decode_variants.hpp"
#include "kernels/embedding.hpp"
#include "kernels/gated_activation.hpp"
#include "kernels/kv_append.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm.hpp"
#include "kernels/patch_embedding.hpp"
#include "kernels/patch_merger.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/reference_attention.hpp"
#include "kernels/rope.hpp"
#include "kernels/rope_block.hpp"
#include "kernels/sampling.hpp"
#include "kernels/shared_object_kernel.hpp"
#include "kernels/vision_attention.hpp"

namespace drought {
namespace {

template <typename... Listed>
struct Kernels {};

using AllKernels = Kernels<PrefillAttention,    //
                           DecodeAttention,     //
                           VisionAttention,     //
                           ReferenceAttention,  //
                           PatchEmbedding,      //
                           PatchMerger,         //
                           Rope,                //
                           KvAppend,            //
                           Linear,              //
                           Norm,                //
                           GatedActivation,     //
                           Embedding,           //
                           AddRows,             //
                           Sampling,            //
                           SharedObjectKernel,  //
                           Checksum>;

std::string text(bool value) { return value ? "true" : "false"; }
std::string text(double value) {
  std::ostringstream said;
  said << value;
  return said.str();
}
std::string text(std::size_t value) { return std::to_string(value); }
std::string text(const std::string& value) { return value; }
std::string text(const std::vector<std::size_t>& values) {
  std::string said;
  for (const std::size_t value : values) said += (said.empty() ? "[" : ", ") + std::to_string(value);
  return said + "]";
}

template <typename Shape>
std::string described(const Shape& shape) {
  std::string said;
  const auto say = [&](const auto& key) {
    said += (said.empty() ? "" : ", ") + std::string(key.name) + " = " + text(shape.*key.member);
  };
  std::apply([&](const auto&... keys) { (say(keys), ...); }, Shape::keys());
  return said;
}

template <typename... Listed>
constexpr auto entries_of(Kernels<Listed...>) {
  return std::array<KernelEntry, sizeof...(Listed)>{
      entry_of<KernelEntry, Kernel, Listed>(Listed::kernel_name, Listed::summary)...};
}

template <typename Listed>
void add_cases(std::vector<TestedShape>& cases) {
  for (const auto& shape : Listed::cases())
    cases.push_back(
        {std::string(Listed::kernel_name) + ": " + described(shape), std::make_shared<Listed>(shape)});
}

template <typename... Listed>
std::vector<TestedShape> cases_of(Kernels<Listed...>) {
  std::vector<TestedShape> cases;
  (add_cases<Listed>(cases), ...);
  return cases;
}

constexpr auto kEntries = entries_of(AllKernels{});

}  // namespace

std::span<const KernelEntry> kernel_catalogue() { return kEntries; }

std::vector<TestedShape> tested_shapes() { return cases_of(AllKernels{}); }

template struct HostBodies<PrefillVariants>;
template struct HostBodies<ReferenceVariants>;
template struct HostBodies<PatchEmbeddingVariants>;
template struct HostBodies<RopeVariants>;
template struct HostBodies<DecodeVariants>;
template struct HostBodies<DecodeCombineVariants>;
template struct HostBodies<KvAppendVariants>;
template struct HostBodies<LinearVariants>;
template struct HostBodies<NormVariants>;
template struct HostBodies<ActivationVariants>;
template struct HostBodies<EmbeddingVariants>;
template struct HostBodies<AddRowsVariants>;
template struct HostBodies<SamplingVariants>;
template struct HostBodies<ChecksumVariants>;

}  // namespace drought
