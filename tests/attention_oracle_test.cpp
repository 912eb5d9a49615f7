// What the float64 oracle of attention allows a kernel, beyond what the kernels' own tests show of it.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/oracle.hpp"

namespace drought {
namespace {

// Two keys that weigh the same, in blocks of two values: of the first block the largest are 8 and 2.
TEST(AttentionOracle, AllowsWhatABlockMayBeTooMuchByAndNoMore) {
  const std::vector<double> query{0}, key{0}, first{-8, 0, 0, 1}, second{2, 0, 0, 0};
  const auto tolerances = [&](double times) {
    AttentionOracle oracle({.key = 1, .value = 4}, "bf16");
    oracle.allow({.elements = 2, .times = times});
    oracle.push(key, first);
    oracle.push(key, second);
    return oracle.ask(query, 2).tolerance;
  };
  const std::vector<double> without = tolerances(0), with = tolerances(17);
  const double of_8_and_2 = 8 * 0x1p-24 * 17 * (8 + 2) / 2, of_1_and_0 = 8 * 0x1p-24 * 17 * 1 / 2;
  EXPECT_EQ(without[1], 0) << "all there is zero";
  EXPECT_NEAR(with[0] - without[0], of_8_and_2, 1e-12);
  EXPECT_NEAR(with[1] - without[1], of_8_and_2, 1e-12);
  EXPECT_NEAR(with[2] - without[2], of_1_and_0, 1e-12);
  EXPECT_NEAR(with[3] - without[3], of_1_and_0, 1e-12);
}

}  // namespace
}  // namespace drought
