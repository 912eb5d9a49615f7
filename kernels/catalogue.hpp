// Every kernel that a scenario may name.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "harness/simt/kernel.hpp"

namespace drought {

struct KernelCase {
  std::string text;  ///< The shape, in a form that gtest accepts as a name.
  std::unique_ptr<Kernel> kernel;
};

}  // namespace drought
