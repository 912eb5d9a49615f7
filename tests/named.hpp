// A test's parameter that has a name: the test is called by it, and where it fails the name is shown instead
// of the parameter's bytes.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>

namespace drought {

struct ByName {
  template <typename Named>
  std::string operator()(const testing::TestParamInfo<Named>& info) const {
    return std::string(info.param.name);
  }
};
inline constexpr ByName by_name;

template <typename Named>
requires requires(const Named& of) { std::string_view(of.name); }
void PrintTo(const Named& of, std::ostream* out) { *out << std::string_view(of.name); }

}  // namespace drought
