// A kernel's library that is not on this machine: what needs it is skipped, says so, and is no failure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/simt/needs_library.hpp"
#include "harness/sweep/sweep.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

class NeedsWhatIsNotHere final : public Workload {
 public:
  void run(Rig& rig) override {
    const Buffer held(rig.memory(), {.bytes = 1_MiB, .tag = "held"});
    throw MissingLibrary("libnothing.so.0 cannot be opened");
  }
};

class MissingLibraryOf : public testing::Test {
 protected:
  const TestCatalogues catalogues_{{workload_line<NeedsWhatIsNotHere>("needs_library")}};
  const Scenario scenario_ = scenario_of("[workload]\nkind = 'needs_library'", catalogues_.catalogues());
};

TEST_F(MissingLibraryOf, ARunMakesItSkippedWithTheReason) {
  const RunResult result = run_scenario(scenario_, catalogues_.catalogues(), {});
  EXPECT_EQ(result.verdict, Verdict::skipped);
  EXPECT_THAT(result.why, HasSubstr("libnothing.so.0"));
}

TEST_F(MissingLibraryOf, ASweepMakesItSkippedWithTheReasonAndStrikesNothing) {
  const SweepResult result = sweep_scenario(scenario_, catalogues_.catalogues(), {});
  EXPECT_TRUE(result.skipped);
  EXPECT_TRUE(result.good());
  EXPECT_EQ(result.struck, 0u);
  EXPECT_THAT(result.why, HasSubstr("libnothing.so.0"));
}

}  // namespace
}  // namespace drought
