// Runs that never came to their workload still have a verdict, and the next scenario its turn.
#include <gtest/gtest.h>

#include "harness/scenario/run.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

TEST(Run, CallsAnAllocatorThatFindsTooLittleWhileItIsMadeACleanError) {
  const RunResult result = run_scenario(
      scenario_of("[device]\nprofile = 'h100-80g'\nwork = 'shapes'\n[[resource]]\nkind = 'bump'\n"
                  "slab_bytes = '200 GiB'\n[workload]\nkind = 'churn'\n[expect]\noutcome = 'clean_error'\n"
                  "message = '200.00 GiB'"),
      all_catalogues(), {});
  EXPECT_EQ(result.verdict, Verdict::survived) << result.why;
  EXPECT_EQ(result.calls, 0u);
}

TEST(Run, SkipsAScenarioOfTheOtherLaneAloud) {
  const RunResult result = run_scenario(scenario_of("[device]\nlanes = ['cuda']\n[workload]\nkind = 'churn'"),
                                        all_catalogues(), {});
  EXPECT_EQ(result.verdict, Verdict::skipped);
  EXPECT_EQ(result.why, "cuda lane only");
}

}  // namespace
}  // namespace drought
