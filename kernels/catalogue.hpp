// Every kernel, a line each in catalogue.cpp; catalogue.cu has a line each for its CUDA bodies.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/scenario/catalogues.hpp"

namespace drought {

std::span<const KernelEntry> kernel_catalogue();

struct TestedShape {
  std::string text;  ///< "prefill_attention: type = bf16, batch = 1, ..."
  std::shared_ptr<const Kernel> kernel;
};

/// The shapes of every kernel that tests go over, small enough for the host lane; a kernel lists its own.
std::vector<TestedShape> tested_shapes();

}  // namespace drought
