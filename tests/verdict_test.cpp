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

TEST(Run, CallsAMutantCaughtOnlyWhenItFailsTheNamedCheckAndNoOther) {
  class Leaks final : public Workload {
   public:
    void run(Rig& rig) override { (void)rig.memory().allocate({.bytes = 1_MiB, .tag = "never freed"}); }
  };
  const TestCatalogues catalogues({workload_line<Leaks>("leaks")});
  const auto verdict = [&](const std::string& check) {
    return run_scenario(scenario_of("[workload]\nkind = 'leaks'\n[expect]\ncaught_by = '" + check + "'",
                                    catalogues.catalogues()),
                        catalogues.catalogues(), {})
        .verdict;
  };
  EXPECT_EQ(verdict("accounting"), Verdict::caught);
  EXPECT_EQ(verdict("teardown"), Verdict::failed);
}

}  // namespace
}  // namespace drought
