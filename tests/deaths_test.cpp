// Every way in which a run can end its worker, or never end, struck in the middle of a sweep: it is told for
// what it is, costs its own strike alone, and the strikes after it are made by a fresh worker.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "harness/sched/sanitizers.hpp"
#include "harness/sweep/orders.hpp"
#include "harness/sweep/sweep.hpp"
#include "harness/work/crew.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/child_jobs.hpp"
#include "tests/scenario_text.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

/// Takes one block after the other, and ends as it is told when the second is refused.
class DiesOfARefusal final : public Workload {
 public:
  struct Options {
    std::string how;
    bool unasked = false;  ///< Without any refusal too.
    static constexpr auto keys() {
      return std::tuple{key("how", &Options::how), key("unasked", &Options::unasked)};
    }
  };
  explicit DiesOfARefusal(Options options) : options_(std::move(options)) {}

  void run(Rig& rig) override {
    if (options_.unasked) die(rig);
    for (const char* const tag : {"first", "deadly", "third", "fourth", "fifth", "sixth"}) {
      try {
        const Buffer block(rig.memory(), {.bytes = 1_MiB, .tag = tag});
      } catch (const OutOfMemory&) {
        if (std::string_view(tag) == "deadly") die(rig);
        throw;
      }
    }
  }

 private:
  void die(Rig& rig) const {
    if (options_.how == "abort") std::abort();
    if (options_.how == "null") write_to(nullptr);
    if (options_.how == "kill") raise(SIGKILL);
    if (options_.how == "exit") _exit(3);
    if (options_.how == "waits") rig.scheduler().wait_until("a wake-up", [] { return false; });
    for (volatile bool for_ever = true; for_ever;)
      if (options_.how == "steps") must(rig.device().synchronize(), "cudaDeviceSynchronize");
  }
  static void write_to(volatile int* place) { *place = 1; }

  const Options options_;
};

const TestCatalogues& with_deaths() {
  static const TestCatalogues catalogues(
      {entry_of<WorkloadEntry, Workload, DiesOfARefusal>("dies_of_a_refusal", "a test's own")});
  return catalogues;
}

struct Death {
  const char* how;
  Verdict verdict;
  const char* says;
  bool ends_its_worker = true;
  const char* under_a_sanitizer = says;
};

void PrintTo(const Death& death, std::ostream* out) { *out << death.how; }

class EveryDeath : public testing::TestWithParam<Death> {
 protected:
  EveryDeath() {
    // A worker of so large a program takes a second to start under a sanitizer.
    const bool spins = std::string_view(GetParam().how) == "spins";
    crew_.emplace(Crew::Options{.limit_ms = spins ? 3000u : 60'000u, .program = job("dying_worker")});
  }
  static Scenario scenario(const std::string& more = "") {
    return scenario_of("[device]\nsteps_max = 5000\n[workload]\nkind = 'dies_of_a_refusal'\nhow = '" +
                           std::string(GetParam().how) + "'\n" + more,
                       with_deaths().catalogues());
  }
  SweepResult sweep(const Scenario& scenario) {
    return sweep_scenarios({scenario}, with_deaths().catalogues(),
                           {.seed = test_seed(), .site = "allocate", .forever = false}, *crew_, nullptr,
                           [](const SweepResult&) {})
        .front();
  }
  static auto says() {
    const bool is_watched = sanitizers::address || sanitizers::thread;
    return HasSubstr(is_watched ? GetParam().under_a_sanitizer : GetParam().says);
  }

  std::optional<Crew> crew_;
};

TEST_P(EveryDeath, OverAStrikeCostsThatStrikeAloneAndSaysWhichItWas) {
  const SweepResult result = sweep(scenario());
  EXPECT_EQ(result.why, "");
  EXPECT_EQ(result.struck, 6u);
  const std::map<std::string, std::uint64_t> verdicts{{std::string(name(GetParam().verdict)), 1},
                                                      {"survived", 5}};
  EXPECT_EQ(result.verdicts, verdicts);
  ASSERT_EQ(result.failures.size(), 1u);
  const SweepFailure& failure = result.failures.front();
  EXPECT_EQ(failure.verdict, GetParam().verdict);
  EXPECT_EQ(failure.site, Site::allocate);
  EXPECT_THAT(failure.message, says());
  EXPECT_THAT(failure.repeat, HasSubstr("--once --point " + std::to_string(failure.point)));
  EXPECT_EQ(crew_->started(), GetParam().ends_its_worker ? 2u : 1u);
}

TEST_P(EveryDeath, OfTheUnsweptRunIsWhatTheSweepAndTheRunSay) {
  const Scenario dies = scenario("unasked = true\n");
  const SweepResult swept = sweep(dies);
  EXPECT_FALSE(swept.good());
  EXPECT_EQ(swept.struck, 0u);
  EXPECT_THAT(swept.why,
              testing::StartsWith(GetParam().verdict == Verdict::hung ? "the unswept run hangs: "
                                                                      : "the unswept run crashes: "));
  EXPECT_THAT(swept.why, says());

  const RunOptions options{.seed = test_seed()};
  crew_->give(7, run_order(dies, options));
  const auto done = crew_->next();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->order, 7u);
  const RunResult run = run_answer(*done, dies, options);
  EXPECT_EQ(run.verdict, GetParam().verdict);
  EXPECT_EQ(name(run.outcome.kind), name(GetParam().verdict));
  EXPECT_THAT(run.why, says());
  EXPECT_EQ(run.repeat, "drought run " + dies.path + option_text(options.lane, options.seed));
}

INSTANTIATE_TEST_SUITE_P(
    Each, EveryDeath,
    testing::Values(Death{"abort", Verdict::crashed, "its process ended with signal 6 (Aborted)"},
                    Death{"null", Verdict::crashed, "its process ended with signal 11", true,
                          "its process ended with exit "},
                    Death{"kill", Verdict::crashed, "(Killed), as the kernel kills for want of memory"},
                    Death{"exit", Verdict::crashed, "its process ended with exit 3"},
                    Death{"spins", Verdict::hung, "no answer within 3000 ms"},
                    Death{"steps", Verdict::hung, "steps_max of 5000 is spent; workload was running", false},
                    Death{"waits", Verdict::hung, "nobody can go on; workload waits for a wake-up", false}),
    [](const auto& info) { return std::string(info.param.how); });

}  // namespace

int run_dying_worker(std::istream& orders, std::ostream& answers) {
  const Catalogues catalogues = with_deaths().catalogues();
  return serve_orders(orders, answers, order_doer(catalogues));
}

}  // namespace drought
