#include "scenarios/auto_profile/attention_pass.hpp"

#include <stdexcept>

#include "scenarios/device_calls.hpp"
#include "scenarios/digest.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kPoison = 0xFF;  // Every IEEE format reads it as NaN.

}  // namespace

std::unique_ptr<Kernel> kernel_at(const Rig& rig, std::string_view name, const Table& shape) {
  const KernelEntry* const entry = find_entry(rig.catalogues().kernels, name);
  if (!entry) throw UserError("auto_profile needs the kernel '" + std::string(name) + "'");
  try {
    return entry->make(shape);
  } catch (const std::invalid_argument& mistake) {
    throw UserError("auto_profile: " + std::string(name) + ": " + mistake.what());
  }
}

AttentionPass::AttentionPass(Rig& rig, int rank, Resource& memory, std::unique_ptr<Kernel> kernel,
                             const Given& given)
    : rig_(rig),
      rank_(rank),
      kernel_(std::move(kernel)),
      plan_(kernel_->plan()),
      drawn_(plan_.size()),
      expected_(plan_.size()) {
  for (const Part& part : plan_) {
    const auto found = given.find(part.name);
    Buffer made;
    if (found == given.end() && part.bytes != 0)
      made = Buffer(memory, {.bytes = part.bytes, .alignment = part.alignment, .tag = part.name});
    pointers_.push_back(found == given.end() ? made.data() : found->second);
    buffers_.push_back(std::move(made));
  }
}

std::size_t AttentionPass::index_of(std::string_view part) const {
  for (std::size_t i = 0; i < plan_.size(); ++i)
    if (plan_[i].name == part) return i;
  throw std::logic_error(std::string(kernel_->name()) + " has no part '" + std::string(part) + "'");
}

void AttentionPass::upload(std::string_view part, std::span<const std::byte> content) {
  const std::size_t i = index_of(part);
  if (content.size() != plan_[i].bytes)
    throw std::logic_error("a part of another size: " + std::string(part));
  if (content.empty() || (plan_[i].payload && !rig_.full())) return;
  must(rig_.device(rank_).memcpy(pointers_[i], content.data(), content.size()), "cudaMemcpy");
}

void AttentionPass::expect(std::string_view part, std::span<const std::byte> content) {
  expected_[index_of(part)] = content;
}

void AttentionPass::draw(std::string_view part) {
  const std::size_t i = index_of(part);
  if (plan_[i].payload && !rig_.full()) return;
  drawn_[i].resize(plan_[i].bytes);
  kernel_->fill(i, rig_.seed(), drawn_[i]);
  upload(part, drawn_[i]);
  expected_[i] = drawn_[i];
}

void AttentionPass::launch() {
  Device& device = rig_.device(rank_);
  for (std::size_t i = 0; i < plan_.size(); ++i)
    if (plan_[i].role != Part::Role::input && plan_[i].bytes != 0)
      must(device.memset(pointers_[i], plan_[i].zeroed ? 0 : kPoison, plan_[i].bytes), "cudaMemset");
  must(kernel_->launch(device, {}, pointers_), kernel_->name());
}

std::uint64_t AttentionPass::verify(std::string_view what) {
  Device& device = rig_.device(rank_);
  std::vector<std::vector<std::byte>> outputs(plan_.size());
  std::vector<std::span<const std::byte>> views = expected_;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (!rig_.full() || plan_[i].role != Part::Role::output || plan_[i].bytes == 0) continue;
    outputs[i].resize(plan_[i].bytes);
    must(device.memcpy(outputs[i].data(), pointers_[i], plan_[i].bytes), "cudaMemcpy");
    views[i] = outputs[i];
  }
  must(device.stream_synchronize({}), "cudaStreamSynchronize");
  if (!rig_.full()) return 0;
  const Comparison comparison = kernel_->compare(views);
  rig_.record().comparisons.push_back({std::string(what), comparison.within, comparison.text});
  std::uint64_t digest = kDigestStart;
  for (const std::vector<std::byte>& output : outputs) digest = digest_of(output, digest);
  return digest;
}

}  // namespace drought
