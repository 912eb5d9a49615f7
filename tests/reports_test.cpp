// The collected reports of running out of memory: each has a scenario that comes to its figures and its
// diagnosis, and that fails when one of them is another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "harness/diagnose/log_reader.hpp"
#include "harness/diagnose/reproduction.hpp"
#include "harness/scenario/run.hpp"
#include "scenarios/catalogue.hpp"
#include "tests/named.hpp"
#include "tests/oom_texts.hpp"
#include "tests/seed.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::vector<std::string> report_files() { return scenario_files({source_path("scenarios/reports")}); }

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = std::filesystem::path(info.param).stem().string();
  for (char& letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
  return name;
}

RunResult run_on_host(const Scenario& scenario) {
  return run_scenario(scenario, all_catalogues(), {Lane::host, test_seed()});
}

class Report : public testing::TestWithParam<std::string> {
 protected:
  const Scenario scenario_ = load_scenario(GetParam(), all_catalogues());
};

TEST_P(Report, NamesItselfAndComesToItsDiagnosis) {
  EXPECT_THAT(scenario_.report.number, StartsWith("OOM-"));
  const std::string number = "oom_" + scenario_.report.number.substr(4) + "_";
  EXPECT_THAT(std::filesystem::path(GetParam()).filename().string(), StartsWith(number));
  const RunResult result = run_on_host(scenario_);
  EXPECT_TRUE(is_good(result.verdict)) << result.why;
  EXPECT_EQ(result.diagnosis, scenario_.expect.diagnosis)
      << diagnose_run(result.decisions, result.outcome).sentence;
}

TEST_P(Report, FailsWhenOneOfItsFiguresIsAByteMore) {
  for (std::size_t i = 0; i < scenario_.expect.decisions.size(); ++i) {
    Scenario wrong = scenario_;
    std::string& figure = wrong.expect.decisions[i];
    const std::size_t digits = figure.find('=') + 1;
    figure = figure.substr(0, digits) + std::to_string(std::stoull(figure.substr(digits)) + 1);
    EXPECT_EQ(run_on_host(wrong).verdict, Verdict::failed) << figure;
  }
}

TEST_P(Report, FailsWhenItExpectsAnyOtherDiagnosis) {
  for (const std::string_view other : shortage_names()) {
    if (other == scenario_.expect.diagnosis) continue;
    Scenario wrong = scenario_;
    wrong.expect.diagnosis = other;
    EXPECT_EQ(run_on_host(wrong).verdict, Verdict::failed) << other;
    break;
  }
}

// A diagnosis of a run's own figures can be written as a scenario again, and comes to the same.
TEST_P(Report, IsReproducedFromTheFiguresOfItsRun) {
  const RunResult result = run_on_host(scenario_);
  LogReader reader;
  for (const std::string& decision : result.decisions) reader.line(decision);
  const Diagnosis diagnosis = diagnose(reader.figures());
  const auto text = reproduction(reader.figures(), diagnosis, GetParam());
  if (diagnosis.shortage == Shortage::no_shortage) {
    EXPECT_FALSE(text) << "there is nothing to reproduce";
    return;
  }
  ASSERT_TRUE(text) << diagnosis.sentence;
  const RunResult again = run_on_host(parse_scenario(*text, "reproduction.toml", all_catalogues()));
  EXPECT_TRUE(is_good(again.verdict)) << again.why << "\n" << *text;
  EXPECT_EQ(again.diagnosis, result.diagnosis) << *text;
}

INSTANTIATE_TEST_SUITE_P(Every, Report, testing::ValuesIn(report_files()), test_name);

TEST(Reports, AreFortyNineEachWithANoteWhereItIsNotClosed) {
  std::map<std::string, std::string> classes;
  for (const std::string& file : report_files()) {
    const ReportSection report = load_scenario(file, all_catalogues()).report;
    const auto [known, is_new] = classes.emplace(report.number, report.kind);
    EXPECT_EQ(known->second, report.kind) << report.number << " has two classes";
  }
  EXPECT_EQ(classes.size(), 49u);
  std::map<std::string, int> count;
  for (const auto& [number, kind] : classes) ++count[kind];
  const std::map<std::string, int> expected{
      {"capacity", 7},          {"fragmentation", 9},     {"peer", 3},
      {"workspace_growth", 10}, {"leaked_references", 6}, {"double_counted_margin", 6},
      {"unbounded_retry", 4},   {"teardown_order", 2},    {"api_limit", 2}};
  EXPECT_EQ(count, expected);
}

TEST(Reports, AreHeardByEveryRuleThatOnlyFiguresOfARunCanReach) {
  std::set<std::string_view> spoken;
  for (const OomText& each : oom_texts()) {
    std::istringstream in(each.text);
    LogReader reader;
    reader.read(in);
    spoken.insert(diagnose(reader.figures()).rule);
  }
  for (const std::string& file : report_files()) {
    const RunResult result = run_on_host(load_scenario(file, all_catalogues()));
    spoken.insert(diagnose_run(result.decisions, result.outcome).rule);
  }
  spoken.insert(
      "oversubscribed");  // tests/diagnose_test.cpp: no resource of a chain lends more than there is.
  for (const Rule& rule : rules()) EXPECT_TRUE(spoken.contains(rule.name)) << rule.name;
}

class OomTextsAsScenarios : public testing::TestWithParam<OomText> {};
TEST_P(OomTextsAsScenarios, ComeToTheSameShortageWithTheSameRequest) {
  std::istringstream in(GetParam().text);
  LogReader reader;
  reader.read(in);
  const Figures& figures = reader.figures();
  const auto text = reproduction(figures, diagnose(figures), "a log");
  if (GetParam().shortage == Shortage::no_shortage) {
    EXPECT_FALSE(text);
    return;
  }
  ASSERT_TRUE(text);
  const RunResult result = run_on_host(parse_scenario(*text, "reproduction.toml", all_catalogues()));
  EXPECT_TRUE(is_good(result.verdict)) << result.why << "\n" << *text;
  EXPECT_EQ(result.diagnosis, name(GetParam().shortage)) << *text;
}
INSTANTIATE_TEST_SUITE_P(Every, OomTextsAsScenarios, testing::ValuesIn(oom_texts()), by_name);

TEST(Reproductions, AreNotMadeUpWhereTheNumbersDoNotDecide) {
  EXPECT_FALSE(reproduction({}, diagnose({}), "nothing"));
}

}  // namespace
}  // namespace drought
