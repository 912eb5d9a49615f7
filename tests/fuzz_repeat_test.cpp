// The command that a drawn failure is told with: planted workloads that fail where no run of a file does.
#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "harness/fuzz/fuzz.hpp"
#include "harness/sweep/orders.hpp"
#include "harness/sweep/sweep.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/child_jobs.hpp"
#include "tests/scenario_text.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

/// Comes to another output where a wait failed at a moment when others took memory: two unlike faults, and a
/// run that nothing but the comparison with the unswept one condemns.
class MiscomputesInAPinch final : public Workload {
 public:
  struct Options {
    std::size_t number = 0;
    static constexpr auto keys() { return std::tuple{key("number", &Options::number)}; }
  };
  static constexpr DrawnOption drawn_options[] = {{"number", 0, 9}};
  static constexpr Drawn drawn{.options = drawn_options};
  explicit MiscomputesInAPinch(Options) {}

  void run(Rig& rig) override {
    MemInfo before, after;
    must(rig.device().mem_info(before), "cudaMemGetInfo");
    must(rig.device().mem_info(after), "cudaMemGetInfo");
    const bool pinched = before.free_bytes > after.free_bytes;
    bool waited = rig.device().synchronize() == Status::success;
    const bool missed = pinched && !waited;
    for (int i = 0; i < 3 && !waited; ++i) waited = rig.device().synchronize() == Status::success;
    if (!waited) throw DeviceError(Status::unknown, "cudaDeviceSynchronize");
    rig.record().output_digests.push_back(missed ? 2 : 1);
  }
};

TEST(Fuzz, NamesACommandThatStrikesTwoKindsOfFaultAgain) {
  const TestCatalogues known({drawn_line<MiscomputesInAPinch>("miscomputes_in_a_pinch")});
  const Catalogues catalogues = known.catalogues();
  Myself myself(order_doer(catalogues));
  const FuzzResult found =
      fuzz("miscomputes_in_a_pinch", catalogues, {.seed = test_seed(), .runs = 5000}, myself);
  EXPECT_EQ(found.verdict, Verdict::failed) << found.message;
  EXPECT_EQ(found.strikes, 2u);
  std::smatch words;
  const std::regex command("drought sweep FILE --all --fault (\\w+) --(once|forever) --point (\\d+).*");
  ASSERT_TRUE(std::regex_match(found.repeat, words, command)) << found.repeat;
  const SweepOptions options{.seed = test_seed(),
                             .fault = words[1],
                             .once = words[2] == "once",
                             .forever = words[2] == "forever",
                             .all = true,
                             .point = std::stoull(words[3])};
  const Scenario scenario = parse_scenario(found.scenario, "found.toml", catalogues);
  const SweepResult again = sweep_scenario(scenario, catalogues, options);
  ASSERT_EQ(again.failures.size(), 1u) << again.why;
  EXPECT_EQ(again.failures.front().verdict, found.verdict);
}

/// Comes to another output in the third to sixth of all runs in which a wait fails once: what no file can
/// say, and the same draws alone show again.
class SlipsForATime final : public Workload {
 public:
  struct Options {
    std::size_t number = 0;
    std::string text;
    static constexpr auto keys() {
      return std::tuple{key("number", &Options::number), key("text", &Options::text)};
    }
  };
  static constexpr DrawnOption drawn_options[] = {{"number", 0, 9}};
  static constexpr Drawn drawn{.options = drawn_options};
  explicit SlipsForATime(Options) {}
  inline static int struck_runs = 0;

  void run(Rig& rig) override {
    bool slips = false;
    if (rig.device().synchronize() != Status::success) {
      must(rig.device().synchronize(), "cudaDeviceSynchronize");
      slips = ++struck_runs > 2 && struck_runs < 7;
    }
    rig.record().output_digests.push_back(slips ? 2 : 1);
  }
};

TEST(Fuzz, NamesTheDrawsThemselvesWhereNoFileFailsAlike) {
  const TestCatalogues known({drawn_line<SlipsForATime>("slips_for_a_time")});
  const Catalogues catalogues = known.catalogues();
  const FuzzOptions options{.seed = test_seed(), .runs = 2000, .set = {{"text", "\"two words\""}}};
  const auto found = [&] {
    SlipsForATime::struck_runs = 0;
    Myself myself(order_doer(catalogues));
    return fuzz("slips_for_a_time", catalogues, options, myself);
  };
  const FuzzResult first = found(), again = found();
  EXPECT_EQ(first.verdict, Verdict::failed) << first.message;
  EXPECT_EQ(first.repeat, "drought fuzz slips_for_a_time --runs 2000 --set text=\"two words\"" +
                              option_text(options.lane, options.seed));
  EXPECT_EQ(again.runs, first.runs);
  EXPECT_EQ(again.message, first.message);
}

}  // namespace
}  // namespace drought
