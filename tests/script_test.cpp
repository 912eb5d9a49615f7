// A script says what happens step by step: its mistakes are told by their place, a step that comes out
// otherwise than it says ends the run, and what it measures is what the allocators hold.
#include "scenarios/reports/script.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/scenario/run.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

using testing::Contains;
using testing::HasSubstr;

constexpr const char* kDevice = "[device]\nprofile = 'h100-80g'\nwork = 'shapes'\n";

RunResult run_script(const std::string& steps, const std::string& more = "", const std::string& after = "") {
  const Scenario scenario =
      scenario_of(kDevice + more + "[workload]\nkind = 'script'\nstep = [\n" + steps + "\n]\n" + after);
  return run_scenario(scenario, all_catalogues(), {});
}

std::string mistake_in(const std::string& steps) {
  try {
    run_script(steps);
  } catch (const UserError& mistake) {
    return mistake.what();
  }
  return "";
}

TEST(Script, TellsTheMistakeOfAStepByItsPlace) {
  EXPECT_THAT(mistake_in("{ do = 'alocate', name = 'x', bytes = 1 }"),
              HasSubstr("test.toml:8:8: unknown step 'alocate'; known: allocate, use, free"));
  EXPECT_THAT(mistake_in("{ do = 'allocate', name = 'x' }"), HasSubstr("'allocate' needs bytes above 0"));
  EXPECT_THAT(mistake_in("{ do = 'allocate', bites = 1 }"), HasSubstr("unknown key 'bites'; known: do"));
  EXPECT_THAT(mistake_in("{ do = 'free', count = 0 }"), HasSubstr("must be above 0"));
  EXPECT_THAT(mistake_in("{ do = 'use', bytes = 1, tries = 2000000 }"), HasSubstr("over a million"));
  EXPECT_THAT(mistake_in("{ do = 'use', bytes = 1, with = 'y' }"), HasSubstr("go together"));
  EXPECT_THAT(mistake_in("{ do = 'trim' }"), HasSubstr("keeps nothing"));
  EXPECT_THAT(mistake_in("{ do = 'allocate', name = 'x', bytes = '1 GiB', from = 'elsewhere' }"),
              HasSubstr("no resource called 'elsewhere'"));
  EXPECT_THAT(mistake_in("{ do = 'use', bytes = 1, count = 1000000, grow_bytes = '4096 TiB' }"),
              HasSubstr("beyond 2^62"));
  EXPECT_THAT(mistake_in(""), HasSubstr("at least one step"));
}

TEST(Script, EndsWhereAStepDoesNotComeOutAsItSays) {
  EXPECT_THAT(run_script("{ do = 'allocate', name = 'x', bytes = 1, refused = true }").outcome.message,
              HasSubstr("step 1, 'x': was served, and was to be refused"));
  EXPECT_EQ(run_script("{ do = 'allocate', name = 'x', bytes = '90 GiB' }").outcome.kind,
            Outcome::Kind::clean_error);
  EXPECT_THAT(run_script("{ do = 'require', bytes = 1, refused = true }").outcome.message,
              HasSubstr("were to be refused"));
  EXPECT_THAT(run_script("{ do = 'peer', name = 'p', bytes = '90 GiB' }").outcome.message,
              HasSubstr("does not fit the device"));
  EXPECT_THAT(run_script("{ do = 'peer', name = 'p', bytes = 1, refused = true }").outcome.message,
              HasSubstr("was to be refused"));
  EXPECT_THAT(run_script("{ do = 'register', bytes = 4096, refused = true }").outcome.message,
              HasSubstr("were to be refused"));
}

TEST(Script, GivesBackAllThatItHoldsWhicheverWayItEnds) {
  for (const char* steps : {"{ do = 'allocate', name = 'x', bytes = 4096, count = 3 },"
                            "{ do = 'drop', name = 'x', holder = 'h' }",
                            "{ do = 'allocate', name = 'x', bytes = 4096, count = 3 },"
                            "{ do = 'allocate', name = 'y', bytes = '90 GiB' }"}) {
    const RunResult result = run_script(steps);
    for (const CheckResult& check : result.checks) EXPECT_TRUE(check.ok) << check.name << check.message;
    EXPECT_EQ(result.live_bytes, 0u);
  }
}

TEST(Script, FreesEveryNthBlockAndMeasuresTheHolesBetween) {
  const RunResult result = run_script(
      "{ do = 'allocate', name = 'x', bytes = 4096, count = 8 },{ do = 'free', name = 'x', every = 2 }",
      "[[resource]]\nkind = 'pool'\ninitial_bytes = 32768\nmaximum_bytes = 32768\n");
  EXPECT_THAT(result.decisions, Contains("figure.live=16384"));
  EXPECT_THAT(result.decisions, Contains("figure.hole=4096"));
  EXPECT_THAT(result.decisions, Contains("figure.reserved=32768"));
}

TEST(Script, MeasuresTheHoleOfAnAllocatorThatListsNone) {
  const RunResult result = run_script("{ do = 'allocate', name = 'x', bytes = '1 MiB' }",
                                      "[[resource]]\nkind = 'bump'\nslab_bytes = '64 MiB'\n");
  EXPECT_THAT(result.decisions, Contains("figure.hole=66060288"));
}

TEST(Script, CountsGrowthOnlyWhereTheWorkDoesNotExplainIt) {
  const char* const kPool = "[[resource]]\nkind = 'legacy_pool'\nflush_and_retry = false\n";
  EXPECT_THAT(
      run_script("{ do = 'use', name = 'x', bytes = '1 MiB', grow_bytes = '1 MiB', count = 4 }", kPool)
          .decisions,
      Contains("figure.growth_steps=4"));
  EXPECT_THAT(run_script("{ do = 'allocate', name = 'x', bytes = '1 MiB', count = 4 }", kPool).decisions,
              Not(Contains(testing::StartsWith("figure.growth_steps"))));
  EXPECT_THAT(run_script("{ do = 'use', name = 'x', bytes = '1 MiB', count = 4 }", kPool).decisions,
              Contains("figure.growth_steps=1"));
}

TEST(Script, TellsWhatTheAllocatorAskedOfTheDeviceWhereThatWasMore) {
  const RunResult result = run_script("{ do = 'allocate', name = 'x', bytes = '80 GiB', refused = true }",
                                      "[[resource]]\nkind = 'legacy_pool'\nflush_and_retry = false\n");
  EXPECT_THAT(result.decisions, Contains("figure.requested=85899345920"));
  EXPECT_THAT(result.decisions, Contains("figure.asked=90194313216"));
}

TEST(Script, NeedsNoPayload) {
  const Scenario scenario =
      scenario_of("[workload]\nkind = 'script'\nstep = [{ do = 'ready' }]\n[device]\nwork = 'full'\n");
  EXPECT_THROW(run_scenario(scenario, all_catalogues(), {}), UserError);
}

}  // namespace
}  // namespace drought
