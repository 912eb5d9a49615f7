#include "scenarios/kernels/kernel_call.hpp"

#include <stdexcept>

#include "harness/simt/needs_library.hpp"
#include "scenarios/device_calls.hpp"
#include "scenarios/digest.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kPoison = 0xFF;  // Every IEEE format reads it as NaN.

}  // namespace

KernelCall::KernelCall(Rig& rig, const Kernel& kernel, Where where, const Given& given)
    : rig_(rig), kernel_(kernel), where_(where), plan_(kernel.plan()), host_(plan_.size()) {
  if (const auto* const needs = dynamic_cast<const NeedsLibrary*>(&kernel); needs && rig.full())
    needs->open_library(rig.device(where_.rank).lane());
  Resource& memory = where_.memory ? *where_.memory : rig_.memory(where_.rank);
  for (const Part& part : plan_) {
    const auto found = given.find(part.name);
    void* data = found == given.end() ? nullptr : found->second;
    Buffer made;
    if (!data && part.bytes != 0) {
      made = Buffer(
          memory,
          {.bytes = part.bytes, .alignment = part.alignment, .stream = where_.stream, .tag = part.name});
      data = made.data();
    }
    buffers_.push_back(std::move(made));
    pointers_.push_back(data);
  }
}

void KernelCall::fill(std::uint64_t seed) {
  Device& device = rig_.device(where_.rank);
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const Part& part = plan_[i];
    if (part.bytes == 0) continue;
    if (part.role != Part::Role::input) {
      const std::uint8_t value = part.zeroed ? 0 : kPoison;
      must(device.memset(pointers_[i], value, part.bytes, where_.stream), "cudaMemset");
      continue;
    }
    if (!rig_.full() && part.payload) continue;
    host_[i].resize(part.bytes);
    kernel_.fill(i, seed, host_[i]);
    if (where_.given_is_filled && !buffers_[i]) continue;
    must(device.memcpy(pointers_[i], host_[i].data(), part.bytes, where_.stream), "cudaMemcpy");
  }
}

void KernelCall::launch() {
  // An index out of range would be the kernel's bug to hide; here it is the caller's, before the launch.
  if (const std::string wrong = kernel_.wrong_inputs(views()); !wrong.empty()) throw std::logic_error(wrong);
  must(kernel_.launch(rig_.device(where_.rank), where_.stream, pointers_), kernel_.name());
}

void KernelCall::verify() {
  Device& device = rig_.device(where_.rank);
  outputs_.clear();
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (rig_.full() && plan_[i].role == Part::Role::output && plan_[i].bytes != 0) {
      host_[i].resize(plan_[i].bytes);
      must(device.memcpy(host_[i].data(), pointers_[i], plan_[i].bytes, where_.stream), "cudaMemcpy");
    }
  }
  must(device.stream_synchronize(where_.stream), "cudaStreamSynchronize");
  if (!rig_.full()) return;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (plan_[i].role == Part::Role::output)
      outputs_.insert(outputs_.end(), host_[i].begin(), host_[i].end());
  }
  const Comparison comparison = kernel_.compare(views());
  rig_.record().comparisons.push_back({std::string(kernel_.name()), comparison.within, comparison.text});
  rig_.record().output_digests.push_back(digest_of(outputs_));
}

std::vector<std::span<const std::byte>> KernelCall::views() const {
  std::vector<std::span<const std::byte>> views;
  for (const std::vector<std::byte>& held : host_) views.emplace_back(held);
  return views;
}

void* KernelCall::part(std::string_view name) const {
  for (std::size_t i = 0; i < plan_.size(); ++i)
    if (plan_[i].name == name) return pointers_[i];
  throw std::logic_error(std::string(kernel_.name()) + " has no part '" + std::string(name) + "'");
}

}  // namespace drought
