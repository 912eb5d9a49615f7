// The sweep strikes every call that can fail, and each way in which a workload can take that badly is
// told from the others. The workloads here have one such defect each.
#include "harness/sweep/sweep.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scenarios/device_calls.hpp"
#include "tests/scenario_text.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

Request of(Tag tag) { return {.bytes = 1_MiB, .tag = tag}; }

/// Takes two blocks and computes the same thing each time; gives all back whatever fails.
class Careful final : public Workload {
 public:
  void run(Rig& rig) override {
    const Buffer first(rig.memory(), of("first"));
    const Buffer second(rig.memory(), of("second"));
    must(rig.device().memset(second.data(), 1, second.bytes()), "cudaMemset");
    rig.record().output_digests.push_back(7);
  }
};

/// Loses the first block when the second is refused.
class LeaksOnItsErrorPath final : public Workload {
 public:
  void run(Rig& rig) override {
    void* const first = rig.memory().allocate(of("lost"));
    const Buffer second(rig.memory(), of("second"));
    rig.memory().deallocate(first, of("lost"));
  }
};

/// Goes on as if the fill had been made.
class SwallowsAnError final : public Workload {
 public:
  void run(Rig& rig) override {
    const Buffer block(rig.memory(), of("block"));
    (void)rig.device().memset(block.data(), 1, block.bytes());
    rig.record().output_digests.push_back(7);
  }
};

/// Does without the block when it is refused, and says so.
class FallsBack final : public Workload {
 public:
  void run(Rig& rig) override {
    try {
      const Buffer block(rig.memory(), of("block"));
    } catch (const OutOfMemory&) {
      rig.record().fallbacks.push_back("host memory");
    }
  }
};

/// Tries again for ever.
class RetriesForEver final : public Workload {
 public:
  void run(Rig& rig) override {
    for (;;) {
      try {
        const Buffer block(rig.memory(), of("block"));
        return;
      } catch (const OutOfMemory&) {
      }
    }
  }
};

/// Tries a second time, and answers with something else when it needed that.
class ComputesOtherwiseAfterARetry final : public Workload {
 public:
  void run(Rig& rig) override {
    for (std::uint64_t attempt = 0; attempt < 2; ++attempt) {
      try {
        const Buffer block(rig.memory(), of("block"));
        rig.record().output_digests.push_back(attempt);
        return;
      } catch (const OutOfMemory&) {
        if (attempt == 1) throw;
      }
    }
  }
};

/// Tries again with success, and then fails for want of what it charged twice.
class ChargesTwiceAfterARetry final : public Workload {
 public:
  void run(Rig& rig) override {
    for (std::size_t attempt = 1; attempt <= 2; ++attempt) {
      AttemptScope scope(rig, {.what = "block", .number = attempt, .cap = 2, .size = 3 - attempt});
      try {
        const Buffer block(rig.memory(), of("block"));
        scope.succeeded();
        if (attempt == 2) throw OutOfMemory(of("charged twice"));
        return;
      } catch (const OutOfMemory& refusal) {
        if (attempt == 2) throw;
      }
    }
  }
};

/// Lets an exception of no documented kind out.
class Crashes final : public Workload {
 public:
  void run(Rig& rig) override {
    try {
      const Buffer block(rig.memory(), of("block"));
    } catch (const OutOfMemory&) {
      throw std::runtime_error("no plan B");
    }
  }
};

/// Is never the same again after a failure.
class RemembersAFailure final : public Workload {
 public:
  explicit RemembersAFailure(bool& failed) : failed_(failed) {}
  void run(Rig& rig) override {
    if (failed_) throw Fatal("failed before");
    try {
      const Buffer block(rig.memory(), of("block"));
    } catch (const OutOfMemory&) {
      failed_ = true;
      throw;
    }
  }

 private:
  bool& failed_;
};
bool failed_once = false;

const TestCatalogues& with_defects() {
  static const TestCatalogues catalogues({
      workload_line<Careful>("careful"),
      workload_line<LeaksOnItsErrorPath>("leaks_on_its_error_path"),
      workload_line<SwallowsAnError>("swallows_an_error"),
      workload_line<FallsBack>("falls_back"),
      workload_line<RetriesForEver>("retries_for_ever"),
      workload_line<ComputesOtherwiseAfterARetry>("computes_otherwise"),
      workload_line<ChargesTwiceAfterARetry>("charges_twice"),
      workload_line<Crashes>("crashes"),
      {"remembers_a_failure", "a test's own",
       [](const Table&) -> std::unique_ptr<Workload> {
         return std::make_unique<RemembersAFailure>(failed_once);
       }},
  });
  return catalogues;
}

SweepResult sweep(const std::string& workload, SweepOptions options = {}, const std::string& more = "") {
  failed_once = false;
  options.seed = test_seed();
  const Catalogues catalogues = with_defects().catalogues();
  const Scenario scenario =
      scenario_of("[device]\nsteps_max = 5000\n[workload]\nkind = '" + workload + "'\n" + more, catalogues);
  return sweep_scenario(scenario, catalogues, options);
}

std::string all_failures(const SweepResult& result) {
  std::string text = result.why;
  for (const SweepFailure& failure : result.failures)
    text += "\n" + std::string(name(failure.verdict)) + " at " + std::string(name(failure.site)) + ": " +
            failure.message;
  return text;
}

TEST(Sweep, StrikesEveryCallThatCanFailOnceAndForEver) {
  const SweepResult result = sweep("careful");
  EXPECT_TRUE(result.good()) << all_failures(result);
  // Two blocks: allocate, cudaMalloc and cudaFree each; and the fill.
  EXPECT_EQ(result.points, 7u);
  const std::map<std::string, std::uint64_t> sites{
      {"allocate", 2}, {"cudaMalloc", 2}, {"cudaFree", 2}, {"cudaMemset", 1}};
  EXPECT_EQ(result.sites, sites);
  // cudaMalloc and the fill before and after the deed, the others in one way; each once and for ever.
  EXPECT_EQ(result.struck, 20u);
  EXPECT_EQ(result.verdicts, (std::map<std::string, std::uint64_t>{{"survived", 20}}));
}

TEST(Sweep, StrikesOnlyTheWantedSitesAndWays) {
  EXPECT_EQ(sweep("careful", {.site = "cudaMalloc"}).struck, 8u);
  EXPECT_EQ(sweep("careful", {.site = "cudaMalloc", .forever = false}).struck, 4u);
  EXPECT_EQ(sweep("careful", {.site = "cudaMalloc", .once = false}).struck, 4u);
  EXPECT_EQ(sweep("careful", {.fault = "late_error", .site = "cudaMalloc", .once = false}).struck, 2u);
  EXPECT_EQ(sweep("careful", {.fault = "error_code", .site = "cudaMemset"}).struck, 2u);
}

TEST(Sweep, ThinsToPointsMaxUnlessAllAreWanted) {
  const SweepResult thinned = sweep("careful", {}, "[sweep]\npoints_max = 3");
  EXPECT_EQ(thinned.points, 7u);
  EXPECT_EQ(thinned.thinned, 4u);
  EXPECT_EQ(thinned.verdicts, sweep("careful", {}, "[sweep]\npoints_max = 3").verdicts);
  EXPECT_EQ(sweep("careful", {.all = true}, "[sweep]\npoints_max = 3").struck, 20u);
  EXPECT_EQ(sweep("careful", {.points_max = 5}, "[sweep]\npoints_max = 3").thinned, 2u);
}

TEST(Sweep, LeavesAloneTheSitesThatTheScenarioSkips) {
  EXPECT_EQ(sweep("careful", {}, "[sweep]\nskip = ['cuda*']\nwhy = 'a test'").points, 2u);
}

TEST(Sweep, ThatStrikesNothingFails) {
  const SweepResult result = sweep("careful", {.site = "cuMemMap"});
  EXPECT_FALSE(result.good());
  EXPECT_EQ(result.why, "nothing was struck");
}

TEST(Sweep, LetsARecordedFallbackStand) {
  const SweepResult result = sweep("falls_back", {.site = "allocate"});
  EXPECT_TRUE(result.good()) << all_failures(result);
}

struct Defect {
  const char* workload;
  Verdict verdict;
  const char* says;
  const char* site = "*";
};

class SweptDefect : public testing::TestWithParam<Defect> {};

TEST_P(SweptDefect, IsReportedAsWhatItIsWithTheCommandThatRepeatsIt) {
  const SweepResult result = sweep(GetParam().workload, {.site = GetParam().site});
  ASSERT_FALSE(result.failures.empty()) << "not noticed; " << result.why;
  const SweepFailure* found = nullptr;
  for (const SweepFailure& failure : result.failures)
    if (failure.verdict == GetParam().verdict) found = &failure;
  ASSERT_NE(found, nullptr) << all_failures(result);
  EXPECT_THAT(found->message, HasSubstr(GetParam().says));
  EXPECT_THAT(found->repeat, HasSubstr("drought sweep test.toml --all"));
  EXPECT_THAT(found->repeat, HasSubstr("--point " + std::to_string(found->point)));
  EXPECT_EQ(result.verdicts.at(std::string(name(GetParam().verdict))) >= 1, true);
  EXPECT_FALSE(result.good());
}

INSTANTIATE_TEST_SUITE_P(
    Each, SweptDefect,
    testing::Values(Defect{"leaks_on_its_error_path", Verdict::leaked, "'lost'"},
                    Defect{"swallows_an_error", Verdict::swallowed, "cudaMemset", "cudaMemset"},
                    Defect{"retries_for_ever", Verdict::hung, "steps_max"},
                    Defect{"computes_otherwise", Verdict::failed,
                           "neither an error nor the unswept run's outputs"},
                    Defect{"charges_twice", Verdict::failed, "was retried with success, and yet"},
                    Defect{"crashes", Verdict::crashed, "no plan B"},
                    Defect{"remembers_a_failure", Verdict::failed, "after healing"}),
    [](const auto& info) { return std::string(info.param.workload); });

TEST(Sweep, RefusesToSweepARunThatFailsUnswept) {
  class Leaks final : public Workload {
   public:
    void run(Rig& rig) override { (void)rig.memory().allocate(of("never freed")); }
  };
  const TestCatalogues catalogues({workload_line<Leaks>("leaks")});
  const SweepResult result = sweep_scenario(
      scenario_of("[workload]\nkind = 'leaks'", catalogues.catalogues()), catalogues.catalogues(), {});
  EXPECT_THAT(result.why, HasSubstr("the unswept run fails accounting"));
  EXPECT_EQ(result.struck, 0u);
}

TEST(Run, CallsADeclaredFaultThatNeverStruckNeverReached) {
  const Catalogues catalogues = with_defects().catalogues();
  const RunResult result = run_scenario(
      scenario_of("[workload]\nkind = 'careful'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {tag = 'third'}",
                  catalogues),
      catalogues, {});
  EXPECT_EQ(result.verdict, Verdict::never_reached);
  EXPECT_THAT(result.why, HasSubstr("'out_of_memory' never struck"));
}

TEST(Run, TakesADifferentOutcomeMessageOrNumberOfAttemptsForAFailure) {
  const Catalogues catalogues = with_defects().catalogues();
  const auto verdict = [&](const std::string& more) {
    return run_scenario(scenario_of("[workload]\nkind = 'careful'\n" + more, catalogues), catalogues, {})
        .verdict;
  };
  EXPECT_EQ(verdict(""), Verdict::survived);
  EXPECT_EQ(verdict("[expect]\noutcome = 'fatal'"), Verdict::failed);
  EXPECT_EQ(verdict("[expect]\nmessage = 'kv_buffer'"), Verdict::failed);
  EXPECT_EQ(verdict("[expect]\nattempts = 1"), Verdict::failed);
  EXPECT_EQ(verdict("[expect]\ndecisions = ['target=5']"), Verdict::failed);
  EXPECT_EQ(verdict("[expect]\nchecks = ['span_cover']"), Verdict::failed) << "a check that judged nothing";
  EXPECT_EQ(verdict("[expect]\ncaught_by = 'accounting'"), Verdict::failed) << "a mutant that nothing caught";
}

}  // namespace
}  // namespace drought
