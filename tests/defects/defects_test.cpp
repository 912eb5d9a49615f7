// Forty and more planted mistakes, each of which strikes on an error path alone: no run without a fault shows
// it, and a sweep finds every one with nothing but the scenario. The same code without its mistake survives
// every kind of strike, so what is found is the mistake.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "harness/sweep/sweep.hpp"
#include "tests/defects/subjects.hpp"
#include "tests/scenario_text.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

SweepResult sweep(const Subject& subject, std::string_view defect, const std::string& fault) {
  const Catalogues catalogues = subject_catalogues();
  SweepOptions options;
  options.seed = test_seed();
  options.fault = fault;
  options.all = true;
  return sweep_scenario(scenario_of(subject.scenario(defect), catalogues), catalogues, options);
}

std::string told(const SweepResult& result) {
  std::string text = result.why;
  for (const SweepFailure& failure : result.failures)
    text += "\n" + std::string(name(failure.verdict)) + " at call " + std::to_string(failure.point) + ", " +
            std::string(name(failure.site)) + ": " + failure.message;
  return text;
}

struct Planting {
  const Subject* subject;
  const Defect* defect;
};

void PrintTo(const Planting& planting, std::ostream* out) {
  *out << planting.subject->name << " " << planting.defect->what;
}

std::vector<Planting> plantings() {
  std::vector<Planting> all;
  for (const Subject& subject : subjects())
    for (const Defect& defect : subject.defects) all.push_back({&subject, &defect});
  return all;
}

class PlantedDefect : public testing::TestWithParam<Planting> {};

TEST_P(PlantedDefect, IsFoundByASweepAndByNoRunWithoutAFault) {
  const auto [subject, defect] = GetParam();
  const SweepResult result = sweep(*subject, defect->name, "default");
  ASSERT_EQ(result.why, "") << "a run without a fault shows it";
  const bool found = std::any_of(
      result.failures.begin(), result.failures.end(),
      [&, wanted = defect->verdict](const SweepFailure& failure) { return name(failure.verdict) == wanted; });
  EXPECT_TRUE(found) << subject->name << " " << defect->what << ", and no point is " << defect->verdict << ":"
                     << told(result);
}

INSTANTIATE_TEST_SUITE_P(Each, PlantedDefect, testing::ValuesIn(plantings()), [](const auto& info) {
  return std::string(info.param.subject->name) + "_" + std::string(info.param.defect->name);
});

class SoundSubject : public testing::TestWithParam<Subject> {};

TEST_P(SoundSubject, SurvivesEveryKindOfStrike) {
  EXPECT_GT(sweep(GetParam(), "none", "default").struck, 0u);
  for (const char* const fault :
       {"default", "late_error", "failed_free", "partial_success", "error_code", "out_of_memory"}) {
    const SweepResult result = sweep(GetParam(), "none", fault);
    const bool cannot_strike = result.points == 0 && result.failures.empty();
    EXPECT_TRUE(result.good() || cannot_strike) << fault << ": " << told(result);
  }
}

INSTANTIATE_TEST_SUITE_P(Each, SoundSubject, testing::ValuesIn(subjects().begin(), subjects().end()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(PlantedDefects, AreTwentyOfAllocatorsAndTwentyOfWorkloadsAtLeastEachOnce) {
  std::size_t of_allocators = 0, of_workloads = 0;
  std::set<std::string_view> names;
  for (const Planting& planting : plantings()) {
    ++(planting.subject->is_allocator ? of_allocators : of_workloads);
    EXPECT_TRUE(names.insert(planting.defect->name).second) << planting.defect->name << " is planted twice";
  }
  EXPECT_GE(of_allocators, 20u);
  EXPECT_GE(of_workloads, 20u);
}

}  // namespace
}  // namespace drought
