// A kernel: one GPU operation with a shape, a plan of every byte it needs, a launch, a float64 oracle
// and a tolerance. Workloads see kernels through this face only, so that a scenario can name any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/device/device.hpp"

namespace drought {

/// One piece of memory that a kernel works on. The resource under test supplies every one of them.
struct Part {
  enum class Role : std::uint8_t { input, output, workspace };
  std::string_view name;  ///< "q", "page_table", "split_out"; static storage.
  std::size_t bytes = 0;  ///< 0: this shape does not need it, and no memory is asked for.
  std::size_t alignment = 256;
  Role role = Role::input;
  bool zeroed = false;  ///< A workspace that must start as zeros; others are poisoned.
  bool payload = true;  ///< Floating-point data. false: integers (page tables, cu_seqlens), which
                        ///< are written and checked in shapes mode too.
};

/// How far an output is from the oracle.
struct Comparison {
  bool within = false;  ///< Every element, and false when any is NaN.
  double worst_error = 0, tolerance = 0;
  std::string text;  ///< Where the worst element is, its value and the oracle's.
};

/// One kernel at one shape and type. Stateless after construction.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual std::string_view name() const = 0;
  /// In the order in which launch() takes the pointers.
  virtual std::vector<Part> plan() const = 0;
  /// Writes part `index`'s input as the host holds it; the same seed gives the same bits everywhere.
  virtual void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> out) const = 0;
  /// What is wrong with the integer inputs (a page index out of range, cu_seqlens going down) as the host
  /// holds them, in one line; empty when a launch may read them. `parts` as compare() takes them.
  virtual std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const {
    static_cast<void>(parts);
    return {};
  }
  /// Enqueues the whole operation (it may be several launches). `parts[i]` is plan()[i]'s memory.
  /// Stops at the first launch that is refused, and answers its status.
  virtual Status launch(Device& device, Stream stream, std::span<void* const> parts) const = 0;
  /// Compares every output with a float64 oracle computed from `inputs`, which holds plan()'s parts as
  /// the host sees them (inputs as filled, outputs as the device left them, workspaces empty).
  virtual Comparison compare(std::span<const std::span<const std::byte>> parts) const = 0;
  /// Floating-point operations, and bytes that must move at least once: for benches and step counts.
  virtual double flops() const = 0;
};

}  // namespace drought
