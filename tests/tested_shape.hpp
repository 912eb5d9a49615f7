// How tests name a shape that a kernel of the catalogue lists for them.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "kernels/catalogue.hpp"

namespace drought {

inline void PrintTo(const TestedShape& shown, std::ostream* out) { *out << shown.text; }

inline std::string shape_name(const testing::TestParamInfo<TestedShape>& info) {
  return std::string(info.param.kernel->name()) + "_" + std::to_string(info.index);
}

}  // namespace drought
