// The tests' entry: a child job when it was started as one, the tests otherwise. A run in which no
// test passed or failed has tested nothing and says so with exit 77.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/device/child.hpp"
#include "harness/device/cuda_peer.hpp"
#include "tests/child_jobs.hpp"

int main(int argc, char** argv) {
  using namespace drought;
  static constexpr ChildJob kJobs[] = {
      {"act", run_act},
      {"cuda_case", run_cuda_case},
      {"peer", run_cuda_peer},
      {"semantics_row", run_semantics_row},
  };
  if (const auto code = run_as_child(argc, argv, kJobs)) return *code;
  testing::InitGoogleMock(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  if (testing::GTEST_FLAG(list_tests)) return failed;
  return failed == 0 && all.successful_test_count() == 0 ? 77 : failed;
}
