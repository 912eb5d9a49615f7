// Which GPU a test that CTest runs on a machine of several keeps to.
#include "harness/device/assigned_gpu.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace drought {
namespace {

/// What CUDA is shown where CTest says so and the user had chosen GPU 7.
std::string shown_after(const char* assigned) {
  const char* const before = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::string kept = before ? before : "";
  setenv("CUDA_VISIBLE_DEVICES", "7", 1);
  assigned ? setenv("CTEST_RESOURCE_GROUP_0_GPUS", assigned, 1) : unsetenv("CTEST_RESOURCE_GROUP_0_GPUS");
  keep_to_assigned_gpu();
  const std::string shown = std::getenv("CUDA_VISIBLE_DEVICES");
  unsetenv("CTEST_RESOURCE_GROUP_0_GPUS");
  before ? setenv("CUDA_VISIBLE_DEVICES", kept.c_str(), 1) : unsetenv("CUDA_VISIBLE_DEVICES");
  return shown;
}

TEST(AssignedGpu, IsTheOnlyOneThatCudaIsShown) {
  EXPECT_EQ(shown_after("id:2,slots:1"), "2");
  EXPECT_EQ(shown_after("id:12"), "12");
}

TEST(AssignedGpu, IsTheUsersChoiceWhereCTestAssignsNone) {
  EXPECT_EQ(shown_after(nullptr), "7");
  EXPECT_EQ(shown_after(""), "7");
}

}  // namespace
}  // namespace drought
