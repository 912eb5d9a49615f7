// The parts of one kernel in plain host memory, each exactly as long as the plan says, inputs filled and all
// else NaN.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/simt/host_block.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/needs_library.hpp"
#include "tests/plain_device.hpp"

namespace drought {

/// Why the kernel cannot run on this machine's lane; empty when it can.
inline std::string missing_library(const Kernel& kernel, Lane lane) {
  try {
    if (const auto* const needs = dynamic_cast<const NeedsLibrary*>(&kernel)) needs->open_library(lane);
  } catch (const MissingLibrary& missing) {
    return missing.what();
  }
  return {};
}

class KernelMemory {
 public:
  KernelMemory(const Kernel& kernel, std::uint64_t seed) : kernel_(kernel), plan_(kernel.plan()) {
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      parts_.emplace_back(plan_[i].bytes == 0 ? nullptr
                                              : ::operator new (plan_[i].bytes, std::align_val_t{256}));
      if (plan_[i].bytes != 0) std::memset(parts_[i].get(), 0xff, plan_[i].bytes);
      if (plan_[i].role == Part::Role::input && plan_[i].bytes != 0) kernel.fill(i, seed, bytes(i));
    }
  }

  std::span<std::byte> bytes(std::size_t i) {
    return {static_cast<std::byte*>(parts_[i].get()), plan_[i].bytes};
  }
  std::size_t index(std::string_view name) const {
    for (std::size_t i = 0; i < plan_.size(); ++i)
      if (plan_[i].name == name) return i;
    return plan_.size();
  }
  bool has(std::string_view name) const { return index(name) < plan_.size(); }
  /// Throws std::out_of_range for a name that the plan does not have.
  std::span<std::byte> bytes(std::string_view name) {
    const std::size_t part = index(name);
    return {static_cast<std::byte*>(parts_.at(part).get()), plan_.at(part).bytes};
  }
  /// The first output that is not empty.
  std::span<std::byte> output() {
    std::size_t part = 0;
    while (plan_.at(part).role != Part::Role::output || plan_[part].bytes == 0) ++part;
    return bytes(part);
  }

  Status launch(std::uint64_t thread_order_seed) {
    PlainDevice device;
    return launch_on(device, thread_order_seed);
  }

  /// Outputs and workspaces are poisoned first.
  Status launch_on(Device& device, std::uint64_t thread_order_seed) {
    for (std::size_t i = 0; i < plan_.size(); ++i)
      if (plan_[i].role != Part::Role::input && plan_[i].bytes != 0)
        std::memset(parts_[i].get(), plan_[i].zeroed ? 0 : 0xff, plan_[i].bytes);
    std::vector<void*> pointers;
    for (const auto& part : parts_) pointers.push_back(part.get());
    set_thread_order_seed(thread_order_seed);
    return kernel_.launch(device, {}, pointers);
  }

  std::vector<std::span<const std::byte>> views() {
    std::vector<std::span<const std::byte>> all;
    for (std::size_t i = 0; i < plan_.size(); ++i) all.push_back(bytes(i));
    return all;
  }
  Comparison compare() { return kernel_.compare(views()); }

  /// All outputs, one after the other.
  std::vector<std::byte> outputs() {
    std::vector<std::byte> all;
    for (std::size_t i = 0; i < plan_.size(); ++i)
      if (plan_[i].role == Part::Role::output) all.insert(all.end(), bytes(i).begin(), bytes(i).end());
    return all;
  }

 private:
  struct Free {
    void operator()(void* memory) const { ::operator delete (memory, std::align_val_t{256}); }
  };

  const Kernel& kernel_;
  std::vector<Part> plan_;
  std::vector<std::unique_ptr<void, Free>> parts_;
};

}  // namespace drought
