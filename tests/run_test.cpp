// Every shipped scenario comes out as its file says, on each lane that this machine has.
#include "harness/scenario/run.hpp"

#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>

#include "harness/sweep/orders.hpp"
#include "harness/work/crew.hpp"
#include "scenarios/catalogue.hpp"
#include "tests/child_jobs.hpp"
#include "tests/seed.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

/// Relative to the sources, as the command that repeats a run names them.
std::vector<std::string> shipped_files() {
  std::vector<std::string> files = scenario_files({source_path("scenarios")});
  for (std::string& file : files)
    file = std::filesystem::path(file).lexically_relative(source_path("")).string();
  return files;
}

Scenario shipped(const std::string& file) {
  return parse_scenario(read_text_file(source_path(file)), file, all_catalogues());
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param.substr(std::string("scenarios/").size());
  name.resize(name.size() - std::string(".toml").size());
  for (char& letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
  return name;
}

std::string checks_of(const RunResult& result) {
  std::string text;
  for (const CheckResult& check : result.checks)
    if (!check.ok) text += "\n  " + check.name + ": " + check.message;
  return text;
}

void run_and_expect(const std::string& file, Lane lane) {
  const Scenario scenario = shipped(file);
  const RunOptions options{lane, test_seed()};
  const bool isolate = scenario.device.isolate && scenario.runs_on(lane);
  const RunResult result =
      isolate ? run_isolated(scenario, options) : run_scenario(scenario, all_catalogues(), options);
  if (result.verdict == Verdict::skipped) GTEST_SKIP() << file << ": " << result.why;
  EXPECT_TRUE(is_good(result.verdict))
      << name(result.verdict) << ": " << result.why << checks_of(result) << "\nrepeat: " << result.repeat;
}

class ShippedScenario : public testing::TestWithParam<std::string> {};
TEST_P(ShippedScenario, ComesOutAsItSaysOnTheHost) { run_and_expect(GetParam(), Lane::host); }
INSTANTIATE_TEST_SUITE_P(Every, ShippedScenario, testing::ValuesIn(shipped_files()), test_name);

class ShippedScenarioOnCuda : public testing::TestWithParam<std::string> {};
TEST_P(ShippedScenarioOnCuda, ComesOutAsItSays) {
  std::string why_not;
  if (!make_cuda_device(profile_named("h200"), {}, why_not)) GTEST_SKIP() << why_not;
  run_and_expect(GetParam(), Lane::cuda);
}
INSTANTIATE_TEST_SUITE_P(Every, ShippedScenarioOnCuda, testing::ValuesIn(shipped_files()), test_name);

TEST(ShippedScenarios, AreThere) { EXPECT_GE(shipped_files().size(), 2u); }

TEST(ShippedScenarios, SayTheSameOfTwoRunsWithOneSeed) {
  for (const std::string& file : shipped_files()) {
    const Scenario scenario = shipped(file);
    if (!scenario.runs_on(Lane::host)) continue;
    const RunResult first = run_scenario(scenario, all_catalogues(), {Lane::host, test_seed()});
    const RunResult second = run_scenario(scenario, all_catalogues(), {Lane::host, test_seed()});
    EXPECT_EQ(first.calls, second.calls) << file;
    EXPECT_EQ(first.peak_bytes, second.peak_bytes) << file;
    EXPECT_EQ(first.outcome.message, second.outcome.message) << file;
    EXPECT_EQ(first.decisions, second.decisions) << file;
    EXPECT_EQ(first.why, second.why) << file;
  }
}

// Frees never throw: a run whose steps are spent inside one ends when the free has come back.
TEST(ShippedScenarios, AreHungAndDoNotCrashWhereverTheirStepsEnd) {
  for (const std::string& file : shipped_files()) {
    if (!file.starts_with("scenarios/allocators/")) continue;
    Scenario scenario = shipped(file);
    if (scenario.device.isolate || !scenario.runs_on(Lane::host)) continue;
    const RunResult whole = run_scenario(scenario, all_catalogues(), {Lane::host, test_seed()});
    for (std::uint64_t part = 1; part <= 8; ++part) {
      scenario.device.steps_max = 1 + whole.calls * part / 9;
      const RunResult cut = run_scenario(scenario, all_catalogues(), {Lane::host, test_seed()});
      EXPECT_TRUE(cut.outcome.kind == Outcome::Kind::hung || cut.outcome.kind == whole.outcome.kind)
          << file << " with steps_max = " << scenario.device.steps_max << ": " << cut.outcome.message;
    }
  }
}

}  // namespace

int run_worker(std::istream& orders, std::ostream& answers) {
  return serve_orders(orders, answers, order_doer(all_catalogues()));
}

}  // namespace drought
