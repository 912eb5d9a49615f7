// Lives that no shipped trace has are replayed without a difference, and no mutant of the rules is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "harness/trace/replay.hpp"
#include "harness/trace/snapshot.hpp"
#include "tests/named.hpp"
#include "tests/recorded_life.hpp"
#include "tests/seed.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

const Life kLives[] = {
    {.name = "plain", .empties = true},
    {.name = "streams", .streams = 3, .uses_streams = true, .empties = true},
    {.name = "capped", .cap_bytes = 330_MiB, .streams = 2},
    {.name = "small_device", .device_bytes = 330_MiB, .streams = 2},
    {.name = "max_split", .conf = "max_split_size_mb:32", .cap_bytes = 300_MiB},
    {.name = "max_split_rounding",
     .conf = "max_split_size_mb:24,max_non_split_rounding_mb:40",
     .cap_bytes = 300_MiB,
     .streams = 2},
    {.name = "collected",
     .conf = "garbage_collection_threshold:0.5,roundup_power2_divisions:[64:8,256:4,>:1]",
     .cap_bytes = 500_MiB},
    {.name = "collected_split",
     .conf = "garbage_collection_threshold:0.7,max_split_size_mb:40",
     .cap_bytes = 330_MiB},
    {.name = "expandable", .conf = "expandable_segments:True", .streams = 2, .empties = true},
    {.name = "expandable_capped", .conf = "expandable_segments:True", .cap_bytes = 260_MiB},
    {.name = "expandable_small_device", .conf = "expandable_segments:True", .device_bytes = 260_MiB},
    {.name = "large_segments", .conf = "large_segment_size_mb:64", .cap_bytes = 420_MiB},
    {.name = "divided", .conf = "roundup_power2_divisions:4", .device_bytes = 420_MiB},
    {.name = "pools_named", .streams = 2, .pools = 3, .names_pools = true, .empties = true},
    {.name = "pools_capped", .cap_bytes = 500_MiB, .pools = 2, .names_pools = true},
    {.name = "uses_capped", .cap_bytes = 260_MiB, .streams = 3, .uses_streams = true},
};

ReplayResult replay_with(const Trace& trace, const Caching::Options& options = {}) {
  return replay(trace, [&](Resource& upstream, Device& device) {
    return std::make_unique<Caching>(upstream, device, options);
  });
}

class RecordedLife : public testing::TestWithParam<Life> {};
TEST_P(RecordedLife, IsPredictedWithoutADifference) {
  std::size_t ooms = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const Trace trace = trace_of(GetParam(), test_seed() * 1000 + seed);
    const ReplayResult result = replay_with(trace);
    ASSERT_EQ(result.first_difference, "") << "seed " << test_seed() * 1000 + seed;
    ASSERT_EQ(result.differences, std::optional<std::size_t>(0));
    EXPECT_GT(result.compared, 500u);
    ooms += result.refused;
  }
  if (GetParam().cap_bytes) {
    EXPECT_GT(ooms, 0u) << "the cap was never felt";
  }
}

INSTANTIATE_TEST_SUITE_P(Every, RecordedLife, testing::ValuesIn(kLives), by_name);

/// Traces that were recorded elsewhere, and the lives above.
const std::vector<Trace>& traces() {
  static const std::vector<Trace> all = [] {
    std::vector<Trace> made;
    for (const char* name : {"gc_round", "expandable", "frag_oom", "streams"})
      made.push_back(read_snapshot(source_path("tests/data/" + std::string(name) + ".pickle")));
    for (const Life& life : kLives) made.push_back(trace_of(life, test_seed() * 1000));
    return made;
  }();
  return all;
}

class CachingMutants : public testing::TestWithParam<std::string_view> {};

// A wrong cap is made up for by refusals of the driver, which the true rules have no need of.
TEST_P(CachingMutants, DifferFromSomeTrace) {
  std::string differing;
  for (const Trace& trace : traces()) {
    const ReplayResult result = replay_with(trace, {.mutant = std::string(GetParam())});
    if (result.differences.value() != 0 || result.inferred.refusal > replay_with(trace).inferred.refusal)
      differing += trace.name + " ";
  }
  EXPECT_NE(differing, "") << "no trace tells this mutant from the rules";
}

INSTANTIATE_TEST_SUITE_P(Each, CachingMutants,
                         testing::ValuesIn(kCachingMutants.begin() + 1, kCachingMutants.end()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace drought
