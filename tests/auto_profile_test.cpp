// The arithmetic of auto-profile against vectors worked out by hand (LightLLM PR 1273's own unit tests use
// four of them), the models against their published sizes, and the ladder of retries run as a scenario.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <rapidcheck.h>

#include <cmath>
#include <limits>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/run.hpp"
#include "scenarios/auto_profile/agreement.hpp"
#include "scenarios/auto_profile/server.hpp"
#include "scenarios/auto_profile/sizing.hpp"
#include "scenarios/auto_profile/vision_hold.hpp"
#include "scenarios/catalogue.hpp"
#include "scenarios/models/model.hpp"

namespace drought {
namespace {

using testing::Contains;
using testing::HasSubstr;

/// 80 GiB, a probe of 8192 tokens of 65,536 B, a canary of 256 MiB; the rest in GiB.
Measured on_80_gib(std::size_t peak, std::size_t own, std::size_t free) {
  return {.total_bytes = 80_GiB,
          .free_bytes = free << 30,
          .own_bytes = own << 30,
          .peak_bytes = peak << 30,
          .probe_tokens = 8192,
          .cell_bytes = 65'536,
          .canary_bytes = 256_MiB};
}

TEST(AutoProfileSizing, CountsPeersAndThePeakWithoutTheProbesCache) {
  EXPECT_EQ(size_after(on_80_gib(35, 35, 35), 1.0).tokens, 577'536u);
  EXPECT_EQ(size_after(on_80_gib(35, 35, 35), 0.95).tokens, 548'659u);
  EXPECT_EQ(size_after(on_80_gib(35, 35, 45), 1.0).tokens, 741'376u);
  EXPECT_EQ(size_after(on_80_gib(35, 35, 45), 0.95).tokens, 704'307u);
  EXPECT_EQ(size_after(on_80_gib(79, 79, 0), 1.0).tokens, 4096u);
}

TEST(AutoProfileSizing, SaysSoWhenThePeakIsBelowTheProbesCache) {
  Measured measured = on_80_gib(0, 0, 80);
  measured.peak_bytes = 1_MiB;
  const Sizing sizing = size_after(measured, 1.0);
  EXPECT_EQ(sizing.tokens, 1'306'624u);
  EXPECT_TRUE(sizing.non_kv_clamped);
  EXPECT_FALSE(sizing.peers_clamped);
  EXPECT_FALSE(size_after(on_80_gib(35, 35, 35), 1.0).non_kv_clamped);
}

TEST(AutoProfileSizing, SaysSoWhenFreeAndOwnMemoryAreMoreThanThereIs) {
  EXPECT_TRUE(size_after(on_80_gib(35, 35, 46), 1.0).peers_clamped);
  EXPECT_TRUE(size_after(on_80_gib(35, 1, 81), 1.0).peers_clamped);
  EXPECT_FALSE(size_after(on_80_gib(35, 35, 45), 1.0).peers_clamped);
}

TEST(AutoProfileSizing, ANegativeBudgetIsShortByBytesAndNeverOneToken) {
  const Sizing sizing = size_after(on_80_gib(80, 60, 0), 1.0);
  EXPECT_FALSE(sizing.fits());
  // 79.5 GiB + 0.25 GiB + 20 GiB of 80 GiB.
  EXPECT_EQ(sizing.short_bytes, 19_GiB + 768_MiB);
  const Sizing tight = size_after({.total_bytes = 1_GiB, .free_bytes = 1_GiB, .cell_bytes = 2_GiB}, 1.0);
  EXPECT_FALSE(tight.fits());
  EXPECT_EQ(tight.short_bytes, 0u);
}

TEST(AutoProfileSizing, RefusesAFractionThatIsNone) {
  for (const double fraction : {0.0, -0.5, 1.0000001, std::nan("")})
    EXPECT_THROW((void)size_after(on_80_gib(35, 35, 35), fraction), std::invalid_argument) << fraction;
}

TEST(AutoProfileSizing, RefusesAProbeThatWrapsInsteadOfCountingItAsSmall) {
  Measured measured = on_80_gib(35, 35, 35);
  measured.probe_tokens = std::numeric_limits<std::uint64_t>::max() / 2;
  EXPECT_THROW((void)size_after(measured, 1.0), std::invalid_argument);
  measured.cell_bytes = 0;
  EXPECT_THROW((void)size_after(measured, 1.0), std::invalid_argument);
}

TEST(AutoProfileSizing, NeverAsksForMoreThanIsLeftAndIsMonotone) {
  EXPECT_TRUE(rc::check([] {
    const auto figure = [] { return *rc::gen::inRange<std::size_t>(0, 1'000'000) << 20; };
    Measured measured{.total_bytes = figure() + 1,
                      .free_bytes = figure(),
                      .own_bytes = figure(),
                      .peak_bytes = figure(),
                      .probe_tokens = *rc::gen::inRange<std::uint64_t>(0, 100'000),
                      .cell_bytes = *rc::gen::inRange<std::size_t>(1, 1 << 20),
                      .canary_bytes = 256_MiB};
    const double fraction = *rc::gen::inRange(1, 101) / 100.0;
    const Sizing sizing = size_after(measured, fraction);
    RC_ASSERT(sizing.tokens == 0 || sizing.tokens * measured.cell_bytes + sizing.non_kv_bytes +
                                            measured.canary_bytes + sizing.peer_bytes <=
                                        measured.total_bytes);
    RC_ASSERT(sizing.short_bytes == 0 || sizing.tokens == 0);
    Measured worse = measured;
    worse.peak_bytes += 1_GiB;
    RC_ASSERT(size_after(worse, fraction).tokens <= sizing.tokens);
    worse = measured;
    worse.free_bytes -= std::min<std::size_t>(worse.free_bytes, 1_GiB);
    RC_ASSERT(size_after(worse, fraction).tokens <= sizing.tokens);
  }));
}

TEST(AutoProfileSizing, ProbesOneFullPrefillAndADecodeBatchButNoLessThan8192Tokens) {
  EXPECT_EQ(probe_size(16'384, 256), 16'640u);
  EXPECT_EQ(probe_size(4096, 256), 8192u);
  EXPECT_THROW((void)probe_size(std::numeric_limits<std::uint64_t>::max(), 1), std::invalid_argument);
}

TEST(AutoProfileSizing, ShrinksFivePercentRoundedDownAtAnySize) {
  EXPECT_EQ(shrunk(700'000), 665'000u);
  EXPECT_EQ(shrunk(665'000), 631'750u);
  EXPECT_EQ(shrunk(631'750), 600'162u);
  EXPECT_EQ(shrunk(1), 0u);
  EXPECT_LT(shrunk(std::numeric_limits<std::uint64_t>::max()), std::numeric_limits<std::uint64_t>::max());
}

TEST(AutoProfileModels, DivideTheirCacheAmongRanksOrRefuse) {
  EXPECT_EQ(model_named("llama-3-8b").share_of(2).cell_bytes(), 65'536u);
  EXPECT_THROW((void)model_named("qwen2.5-vl-7b").share_of(8), std::invalid_argument);
  EXPECT_THROW((void)model_named("no such model"), std::invalid_argument);
}

TEST(AutoProfileVision, HoldsWhatTheTowersWorstCaseTakes) {
  const VisionTower& tower = model_named("qwen2.5-vl-7b").vision;
  // 65,536 patches: pixels 147 MiB, hidden states 160, queries, keys and values 480, rotated in fp32 640.
  EXPECT_EQ(tower.activation_bytes(65'536), 147_MiB + 160_MiB + 480_MiB + 640_MiB);
}

TEST(AutoProfileErrors, ALackOfMemoryIsKnownInWhateverItIsWrapped) {
  const auto wrapped = [](auto inner) {
    try {
      try {
        throw inner;
      } catch (...) {
        std::throw_with_nested(StressFailed("the decode stress failed"));
      }
    } catch (const std::exception& error) {
      return std::pair(is_out_of_memory(error), original_text(error));
    }
  };
  const OutOfMemory refused(Request{.bytes = 5, .tag = "sort_values"}, "none left");
  EXPECT_TRUE(is_out_of_memory(refused));
  EXPECT_TRUE(wrapped(refused).first);
  EXPECT_THAT(wrapped(refused).second, HasSubstr("sort_values"));
  EXPECT_TRUE(wrapped(DeviceError(Status::memory_allocation, "cudaEventCreate")).first);
  EXPECT_FALSE(wrapped(DeviceError(Status::launch_failure, "launch")).first);
  EXPECT_FALSE(is_out_of_memory(StressFailed("out of memory")));
}

/// Runs the workload on a card whose first target is 700,000 tokens, with `strikes` lacks of memory in
/// validation.
RunResult ladder(std::size_t strikes) {
  std::string text = R"(
    title = "ladder"
    guards = "LightLLM PR 1273"
    [device]
    profile = "h100-80g"
    capacity_bytes = 60_000_450_000
    work = "shapes"
    [workload]
    kind = "auto_profile"
)";
  for (std::size_t i = 0; i < strikes; ++i)
    text +=
        "[[fault]]\nkind = \"out_of_memory\"\nwhen = { phase = \"validate\", tag = \"sort_values\", nth = 1, "
        "site = \"allocate\" }\n";
  return run_scenario(read_scenario(parse_toml(text, "ladder.toml"), all_catalogues()), all_catalogues(), {});
}

TEST(AutoProfileLadder, ComesToTheFirstSizeThatValidates) {
  constexpr std::uint64_t sizes[] = {700'000, 665'000, 631'750, 600'162};
  for (std::size_t strikes = 0; strikes < 4; ++strikes) {
    const RunResult result = ladder(strikes);
    EXPECT_EQ(result.verdict, Verdict::survived) << result.why;
    EXPECT_EQ(result.attempts, strikes + 1);
    EXPECT_THAT(result.decisions, Contains("tokens=" + std::to_string(sizes[strikes])));
  }
}

TEST(AutoProfileLadder, EndsAfterFourAttemptsNamingEveryKnobAndTheOriginalError) {
  const RunResult result = ladder(4);
  EXPECT_EQ(result.outcome.kind, Outcome::Kind::fatal);
  EXPECT_EQ(result.attempts, 4u);
  for (const char* const said :
       {"--batch_max_tokens", "--graph_max_batch_size", "--visual_infer_batch_size", "--max_total_token_num",
        "--mem_fraction", "after 4 attempts", "first 700000", "last 600162", "256.00 MiB", "'sort_values'"})
    EXPECT_THAT(result.outcome.message, HasSubstr(said));
}

}  // namespace
}  // namespace drought
