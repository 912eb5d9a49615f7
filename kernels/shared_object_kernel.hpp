// A user's own kernel in a shared library, under the same oracle, poison, faults and checks as the kernels
// that come with drought. kernels/pluggable/drought_kernel.h is what such a library offers; the example
// beside it lies inside this executable. Its launch declares every part of its plan; what it does with the
// pointers is seen by the page tables alone, so an overrun shows on the allocator `guard`.
//
// A library stays loaded as long as the process: work that was enqueued may still run its code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/pluggable/drought_kernel.h"

namespace drought {

class SharedObjectKernel final : public Kernel {
 public:
  struct Shape {
    std::string library;                      ///< A path; empty: the example of kernels/pluggable.
    std::string prefix = "example";           ///< Of the functions' names.
    std::vector<std::size_t> sizes = {1000};  ///< What they mean is the kernel's own business.
    static constexpr auto keys() {
      return std::tuple{key("library", &Shape::library), key("prefix", &Shape::prefix),
                        key("sizes", &Shape::sizes)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "shared_object";
  static constexpr std::string_view summary = "a user's kernel in a shared library, judged by its own oracle";

  /// Throws std::invalid_argument, in one line, for a library, a function or a plan that cannot be.
  explicit SharedObjectKernel(const Shape& shape);

  static std::vector<Shape> cases() { return {{.sizes = {1}}, {.sizes = {129}}, {.sizes = {1000}}}; }

  std::string_view name() const override { return kernel_name; }
  std::vector<Part> plan() const override;
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> out) const override;
  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override;
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override;
  double flops() const override { return 0; }

 private:
  DroughtHost* host_ = nullptr;
  DroughtCuda* cuda_ = nullptr;
  DroughtOracle* oracle_ = nullptr;
  DroughtFill* fill_ = nullptr;
  DroughtSizes sizes_{};
  std::vector<DroughtPart> parts_;
};

}  // namespace drought
