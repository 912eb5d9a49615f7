// Drawn runs: a sound workload survives them; each of five mistakes that need two processes and a switch at
// one place is found, and shrunk to a few steps, also where every attempt ends its worker.
#include "harness/fuzz/fuzz.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <string>

#include "harness/fuzz/draft.hpp"
#include "harness/sched/random.hpp"
#include "harness/sweep/orders.hpp"
#include "harness/work/crew.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/child_jobs.hpp"
#include "tests/scenario_text.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

FuzzResult fuzz_here(const std::string& workload, FuzzOptions options) {
  Myself myself(order_doer(all_catalogues()));
  options.seed = test_seed();
  return fuzz(workload, all_catalogues(), options, myself);
}

TEST(Fuzz, FindsNothingInSoundWorkloads) {
  for (const auto& [workload, runs] : {std::pair{"shared_blocks", 400},
                                       {"churn", 200},
                                       {"growing_map", 20},
                                       {"passes", 60},
                                       {"graph_replay", 100},
                                       {"graph_scratch", 100},
                                       {"pool_decode", 250},
                                       {"auto_profile", 100},
                                       {"paged_serving", 100}}) {
    const FuzzResult result = fuzz_here(workload, {.runs = static_cast<std::uint64_t>(runs)});
    EXPECT_EQ(result.scenario, "") << result.message;
    EXPECT_EQ(result.runs, static_cast<std::uint64_t>(runs));
    EXPECT_LT(result.discarded, result.runs / 2);
  }
}

struct Planted {
  const char* bug;
  const char* says;  ///< One of these, as a regular expression: memory lent twice shows in two ways.
};

class PlantedInterleaving : public testing::TestWithParam<Planted> {};

TEST_P(PlantedInterleaving, IsFoundAndShrunkToAScenarioThatFailsAlike) {
  const FuzzOptions options{
      .runs = 2000, .faults = false, .set = {{"bug", '"' + std::string(GetParam().bug) + '"'}}};
  const FuzzResult found = fuzz_here("shared_blocks", options);
  ASSERT_NE(found.scenario, "") << "not found in " << found.runs << " runs";
  EXPECT_THAT(found.message, testing::ContainsRegex(GetParam().says));
  EXPECT_LE(found.steps, 10u);
  EXPECT_LE(found.switches, 3u);
  EXPECT_EQ(found.strikes, 0u) << "no fault is needed";
  ASSERT_EQ(found.repeat.substr(0, 16), "drought run FILE");

  const Scenario scenario = parse_scenario(found.scenario, "found.toml", all_catalogues());
  const RunResult again = run_scenario(scenario, all_catalogues(), {Lane::host, test_seed()});
  EXPECT_EQ(again.verdict, found.verdict) << again.why;
  EXPECT_NE(again.verdict, Verdict::survived);

  std::string sound = found.scenario;
  sound.replace(sound.find(GetParam().bug), std::string(GetParam().bug).size(), "none");
  const RunResult without = run_scenario(parse_scenario(sound, "sound.toml", all_catalogues()),
                                         all_catalogues(), {Lane::host, test_seed()});
  EXPECT_EQ(without.verdict, Verdict::survived) << without.why;

  EXPECT_EQ(fuzz_here("shared_blocks", options).scenario, found.scenario) << "one seed, one finding";
}

INSTANTIATE_TEST_SUITE_P(Each, PlantedInterleaving,
                         testing::Values(Planted{"lost_wake_up", "room in the budget"},
                                         Planted{"check_then_act", "budget"},
                                         Planted{"double_free", "accounting|stream_order"},
                                         Planted{"stale_read", "stream_order"},
                                         Planted{"drops_in_use", "accounting|stream_order"}),
                         [](const auto& info) { return std::string(info.param.bug); });

/// Does `what` when its number is above 20: it takes the worker with it.
class EndsItsWorker final : public Workload {
 public:
  struct Options {
    std::size_t number = 0, other = 0;
    bool hangs = false;
    static constexpr auto keys() {
      return std::tuple{key("number", &Options::number), key("other", &Options::other),
                        key("hangs", &Options::hangs)};
    }
  };
  static constexpr DrawnOption drawn_options[] = {{"number", 0, 1000}, {"other", 0, 1000}};
  static constexpr Drawn drawn{.options = drawn_options};
  explicit EndsItsWorker(Options options) : options_(options) {}

  void run(Rig&) override {
    if (options_.number <= 20) return;
    if (!options_.hangs) std::abort();
    for (volatile bool for_ever = true; for_ever;) {
    }
  }

 private:
  const Options options_;
};

const TestCatalogues& with_deadly() {
  static const TestCatalogues catalogues({drawn_line<EndsItsWorker>("ends_its_worker")});
  return catalogues;
}

/// Fails when memory goes that nobody here has taken.
class TakesTheDeviceForItsOwn final : public Workload {
 public:
  struct Options {
    std::size_t bytes = 1;
    std::string order = "up";
    static constexpr auto keys() {
      return std::tuple{key("bytes", &Options::bytes), key("order", &Options::order)};
    }
  };
  static constexpr std::string_view drawn_orders[] = {"'up'", "'down'"};
  static constexpr DrawnOption drawn_options[] = {{"bytes", 1, 1000}, {"order", drawn_orders}};
  static constexpr Drawn drawn{.options = drawn_options, .shapes = true};
  explicit TakesTheDeviceForItsOwn(Options options) : options_(std::move(options)) {}

  void run(Rig& rig) override {
    MemInfo before, after;
    must(rig.device().mem_info(before), "cudaMemGetInfo");
    must(rig.device().mem_info(after), "cudaMemGetInfo");
    if (options_.order == "down" && before.free_bytes > after.free_bytes)
      rig.record().violate("accounting", "somebody took memory");
  }

 private:
  const Options options_;
};

TEST(Fuzz, DrawsEveryKindOfFaultAndValuesOfOptionsAndShrinksTheDevice) {
  const TestCatalogues known({drawn_line<TakesTheDeviceForItsOwn>("takes_the_device")});
  const Catalogues catalogues = known.catalogues();
  Myself myself(order_doer(catalogues));
  const FuzzResult found = fuzz("takes_the_device", catalogues, {.seed = test_seed(), .runs = 2000}, myself);
  EXPECT_EQ(found.verdict, Verdict::leaked) << found.message;
  EXPECT_EQ(found.strikes, 1u);
  EXPECT_THAT(found.scenario,
              testing::AnyOf(HasSubstr("kind = \"peer_grows\""), HasSubstr("kind = \"capacity_shrinks\"")));
  EXPECT_THAT(found.scenario, HasSubstr("bytes = 1\norder = 'down'\n"));
  EXPECT_THAT(found.scenario, HasSubstr("profile = \"h100-80g\""));
  EXPECT_THAT(found.scenario, HasSubstr("work = \"shapes\""));
  EXPECT_THAT(found.scenario, testing::Not(HasSubstr("[[resource]]")));
}

TEST(Fuzz, DrawsAllocatorsWithTheirOptionsDevicesAndPeers) {
  DraftSubject subject;
  subject.workload = find_entry(all_catalogues().workloads, "churn");
  subject.profiles = {"h100-80g", "h200"};
  subject.bases = {nullptr, find_entry(all_catalogues().allocators, "guard")};
  subject.aboves = {nullptr, find_entry(all_catalogues().allocators, "caching")};
  const rc::Gen<Draft> drawn = drafts(subject);
  std::string all;
  for (std::uint64_t i = 0; i < 400; ++i)
    all += toml_of(drawn(rc::Random(Random(test_seed()).split(i)()), 50).value(), subject, "drawn");
  for (const char* part : {"profile = \"h200\"", "peer_bytes = [\"", "kind = \"guard\"\nfence = 'before'",
                           "conf = 'expandable_segments:True'", "ties = 'age'", "switches = [1"})
    EXPECT_THAT(all, HasSubstr(part));
}

TEST(Fuzz, GoesOnShrinkingOverCrashes) {
  const Catalogues catalogues = with_deadly().catalogues();
  Crew crew({.program = job("deadly_worker")});
  const FuzzResult found = fuzz("ends_its_worker", catalogues, {.seed = test_seed(), .runs = 50}, crew);
  EXPECT_EQ(found.verdict, Verdict::crashed);
  EXPECT_THAT(found.message, HasSubstr("signal 6"));
  EXPECT_THAT(found.scenario, HasSubstr("number = 21\nother = 0\n"));
  EXPECT_GE(crew.started(), 3u) << "each crash costs a worker";
}

TEST(Fuzz, GoesOnShrinkingOverHangs) {
  const Catalogues catalogues = with_deadly().catalogues();
  Crew crew({.limit_ms = 200, .program = job("deadly_worker")});
  const FuzzResult found =
      fuzz("ends_its_worker", catalogues,
           {.seed = test_seed(), .runs = 50, .attempts_max = 30, .set = {{"hangs", "true"}}}, crew);
  EXPECT_EQ(found.verdict, Verdict::hung);
  EXPECT_LT(found.scenario.size(), 400u);
  EXPECT_GE(crew.started(), 3u);
}

TEST(Fuzz, TellsAWorkloadThatIsNoneOrDrawsNothingAndAWrongOption) {
  const auto mistake = [](const std::string& workload, const FuzzOptions& options) {
    try {
      (void)fuzz_here(workload, options);
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_THAT(mistake("chum", {}), HasSubstr("unknown workload 'chum'; known: "));
  EXPECT_THAT(mistake("script", {}), HasSubstr("workload 'script' draws nothing; known: "));
  EXPECT_THAT(mistake("shared_blocks", {.set = {{"bug", "\"mop\""}}}), HasSubstr("unknown bug 'mop'"));
  EXPECT_THAT(mistake("shared_blocks", {.set = {{"bag", "1"}}}), HasSubstr("unknown key 'bag'"));
}

}  // namespace

int run_deadly_worker(std::istream& orders, std::ostream& answers) {
  const Catalogues catalogues = with_deadly().catalogues();
  return serve_orders(orders, answers, order_doer(catalogues));
}

}  // namespace drought
