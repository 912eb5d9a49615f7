// The settings under which a trace was recorded: those that its snapshot names, and the cap on reserved
// memory, which none names and which its refusals give away.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "harness/trace/recorded_run.hpp"

namespace drought {

/// As PYTORCH_CUDA_ALLOC_CONF: the string that was parsed last, then what the allocator made of it, which
/// tells how a release reads what is said in two ways.
std::string conf_of(const SnapshotSettings& settings);

/// Every request that was served shows that the cap is at least so much, and each that ran out of memory
/// that it is less.
struct CapBounds {
  std::size_t least = 0;  ///< The highest that a served request led to; the cap itself will do.
  std::size_t too_much = ~std::size_t{0};
  /// Whether one cap explains every refusal.
  bool explain_refusals() const { return too_much != ~std::size_t{0} && least < too_much; }
};

/// `segment_bytes`: what a request asks of the driver at most.
CapBounds cap_bounds(const RecordedRun& run, const std::function<std::size_t(std::size_t)>& segment_bytes);

}  // namespace drought
