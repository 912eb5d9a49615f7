// A what-if replay answers what a user would compute by hand: whether the requests fit, where they first do
// not, what kind of shortage that is, and the least capacity that serves them.
#include "harness/trace/refit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <sstream>

#include "allocators/catalogue.hpp"
#include "harness/trace/readers.hpp"
#include "harness/trace/snapshot.hpp"
#include "harness/trace/snapshot_writer.hpp"
#include "tests/named.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

std::string data(const std::string& name) { return source_path("tests/data/" + name + ".pickle"); }

/// Events in the order of their calls, each block at an address of its own.
class Requests {
 public:
  Requests& alloc(std::uint64_t address, std::uint64_t bytes) {
    return add(TraceAction::alloc, address, bytes);
  }
  Requests& free(std::uint64_t address) { return add(TraceAction::free_completed, address, 0); }
  Requests& refused(std::uint64_t bytes) { return add(TraceAction::oom, 0, bytes); }
  Trace trace() const {
    Trace made;
    made.name = "made";
    made.device_traces = {events_};
    return made;
  }

 private:
  Requests& add(TraceAction action, std::uint64_t address, std::uint64_t bytes) {
    TraceEvent event;
    event.action = action;
    event.address = address;
    event.bytes = bytes;
    events_.push_back(event);
    return *this;
  }
  std::vector<TraceEvent> events_;
};

MakeChain chain_of(std::string_view name, const std::string& options = "") {
  return [name, options](Device& device) {
    const AllocatorEntry* const entry = find_entry(allocator_catalogue(), name);
    ResourceChain chain;
    if (entry->takes_upstream)
      chain.push_back(find_entry(allocator_catalogue(), "direct")->make(Table(), nullptr, device));
    Resource* const below = chain.empty() ? nullptr : chain.back().get();
    chain.push_back(entry->make(parse_toml(options, "options"), below, device));
    return chain;
  };
}

RefitRun run(const Trace& trace, std::string_view allocator, RefitOptions options = {},
             const std::string& settings = "") {
  return refit(trace, chain_of(allocator, settings), options);
}

TEST(Refit, OfPlainCallsNeedsTheirBytesAndNoMore) {
  const Trace trace =
      Requests().alloc(1, 10_MiB).alloc(2, 20_MiB).free(1).alloc(3, 4_MiB).free(2).free(3).trace();
  const auto [report, recorded] = run(trace, "direct", {.finds_capacity = true});
  const Refit& refit = *report.refit;
  EXPECT_TRUE(refit.fits);
  EXPECT_EQ(refit.peak.reserved_bytes, 30_MiB);
  EXPECT_EQ(refit.peak.event, 1u);
  EXPECT_EQ(refit.peak_live_bytes, 30_MiB);
  EXPECT_EQ(refit.least_capacity_bytes, std::optional<std::size_t>(30_MiB));
  EXPECT_EQ(refit.driver_calls.at("cudaMalloc"), 3u);
  EXPECT_EQ(refit.driver_calls.at("cudaFree"), 3u);
  EXPECT_EQ(report.result.live_bytes, 0u);
  EXPECT_EQ(report.result.reserved_bytes, 0u);
}

TEST(Refit, NamesTheFirstRequestThatDoesNotFitAndGoesOnWithoutIt) {
  const Trace trace = Requests().alloc(1, 10_MiB).alloc(2, 10_MiB).free(2).alloc(3, 2_MiB).trace();
  const auto report = run(trace, "direct", {.capacity_bytes = 16_MiB}).report;
  ASSERT_TRUE(report.refit->first_refusal);
  const FirstRefusal& first = *report.refit->first_refusal;
  EXPECT_FALSE(report.refit->fits);
  EXPECT_EQ(first.event, 1u);
  EXPECT_EQ(first.request_bytes, 10_MiB);
  EXPECT_EQ(first.free_bytes, 6_MiB);
  EXPECT_EQ(first.shortage(), "capacity");
  EXPECT_THAT(first.why, HasSubstr("asked at made:1: cudaMalloc answered"));
  EXPECT_EQ(report.result.refused, 1u);
  EXPECT_EQ(report.result.live_bytes, 12_MiB);
}

TEST(Refit, CallsIdleMemoryBetweenLiveBlocksFragmentation) {
  // Five blocks of 4 MiB in one segment of 20 MiB; the second and fourth go; 8 MiB find no hole.
  Requests requests;
  for (std::uint64_t i = 1; i <= 5; ++i) requests.alloc(i, 4_MiB);
  const Trace trace = requests.free(2).free(4).alloc(6, 8_MiB).trace();
  const auto report = run(trace, "caching", {.capacity_bytes = 20_MiB}).report;
  ASSERT_TRUE(report.refit->first_refusal);
  const FirstRefusal& first = *report.refit->first_refusal;
  EXPECT_EQ(first.event, 7u);
  EXPECT_EQ(first.reserved_bytes, 20_MiB);
  EXPECT_EQ(first.live_bytes, 12_MiB);
  EXPECT_EQ(first.idle_bytes(), 8_MiB);
  EXPECT_EQ(first.largest_hole_bytes, 4_MiB);
  EXPECT_EQ(first.compaction_frees_bytes, 8_MiB);
  EXPECT_EQ(first.shortage(), "fragmentation");
}

TEST(Refit, CallsARefusalBesideAFreeDevicePolicy) {
  const auto report = run(Requests().alloc(1, 100_MiB).trace(), "bump").report;
  ASSERT_TRUE(report.refit->first_refusal);
  EXPECT_EQ(report.refit->first_refusal->shortage(), "policy");
}

TEST(Refit, CountsAnAllocatorThatCannotBeMadeAsRefusedAtOnce) {
  const auto report = run(Requests().alloc(1, 1_MiB).trace(), "bump", {.capacity_bytes = 32_MiB}).report;
  ASSERT_TRUE(report.refit->first_refusal);
  EXPECT_EQ(report.refit->first_refusal->request_bytes, 64_MiB);
}

TEST(Refit, TriesWhatTheRecordedRunWasRefusedAndGivesItBackAtOnce) {
  const Trace trace = Requests().refused(30_MiB).alloc(1, 10_MiB).free(1).trace();
  const auto report = run(trace, "direct", {.finds_capacity = true}).report;
  EXPECT_TRUE(report.refit->fits);
  EXPECT_EQ(report.refit->least_capacity_bytes, std::optional<std::size_t>(30_MiB));
  EXPECT_EQ(report.refit->peak.live_bytes, 30_MiB);
  EXPECT_EQ(report.result.live_bytes, 0u);
}

TEST(Refit, SaysWhereNoCapacityServes) {
  const auto report = run(Requests().alloc(1, 100_MiB).trace(), "bump", {.finds_capacity = true}).report;
  EXPECT_EQ(report.refit->least_capacity_bytes, std::nullopt);
  const auto other =
      run(Requests().alloc(1, 100_MiB).trace(), "bump", {.finds_capacity = true}, "slab_bytes = '100 MiB'");
  EXPECT_EQ(other.report.refit->least_capacity_bytes, std::optional<std::size_t>(100_MiB));
}

TEST(Refit, PassesOverAFreeOfABlockThatWasNeverAllocated) {
  const auto report = run(Requests().free(7).alloc(1, 2_MiB).free(1).free(1).trace(), "caching").report;
  EXPECT_TRUE(report.refit->fits);
  EXPECT_EQ(report.result.live_bytes, 0u);
}

TEST(Refit, OfEachDeviceLooksAtItsOwn) {
  Trace trace = Requests().alloc(1, 10_MiB).trace();
  trace.device_traces.push_back(Requests().alloc(1, 30_MiB).trace().device_traces[0]);
  const auto report = run(trace, "direct", {.capacity_bytes = 20_MiB, .finds_capacity = true}).report;
  EXPECT_EQ(report.refit->first_refusal.value().device, 1u);
  EXPECT_EQ(report.refit->least_capacity_bytes, std::optional<std::size_t>(30_MiB));
}

class EveryAllocatorRefit : public testing::TestWithParam<AllocatorEntry> {};

TEST_P(EveryAllocatorRefit, ServesATraceAtTheCapacityFoundAndNotOneGranuleBelow) {
  const Trace trace = read_snapshot(data("stacks"));
  const std::string settings = GetParam().name == "bump" ? "slab_bytes = '1 GiB'" : "";
  RefitRun found;
  try {
    found = run(trace, GetParam().name, {.finds_capacity = true}, settings);
  } catch (const std::invalid_argument& mistake) {
    GTEST_SKIP() << GetParam().name << " must be told more: " << mistake.what();
  }
  const auto least = found.report.refit->least_capacity_bytes;
  if (!least) GTEST_SKIP() << GetParam().name << " serves the trace at no capacity with its defaults";
  if (found.report.refit->driver_calls.contains("cudaMallocManaged"))
    GTEST_SKIP() << GetParam().name << " is paged, so that no capacity is too small";
  EXPECT_GE(*least, found.report.refit->peak_live_bytes);
  EXPECT_TRUE(run(trace, GetParam().name, {.capacity_bytes = *least}, settings).report.refit->fits);
  EXPECT_FALSE(run(trace, GetParam().name, {.capacity_bytes = *least - 2_MiB}, settings).report.refit->fits);
}
INSTANTIATE_TEST_SUITE_P(Catalogue, EveryAllocatorRefit,
                         testing::ValuesIn(allocator_catalogue().begin(), allocator_catalogue().end()),
                         by_name);

/// Writes what the run did, reads it again, and replays it through caching, every decision compared.
ReplayResult replayed_again(const RefitRun& run) {
  std::ostringstream out;
  write_snapshot(out, run.recorded);
  const Snapshot again = read_snapshot(pickle::Document::parse("again", out.str()));
  return replay(again, [&](Resource& upstream, Device& device) {
    return find_entry(allocator_catalogue(), "caching")->make(Table(), &upstream, device);
  });
}

TEST(Refit, RecordsRunsOfCachingThatTheExactReplayPredictsInEveryDecision) {
  for (const char* name : {"stacks", "frag_oom", "gpt_train", "streams"})
    for (const std::size_t capacity : {450_MiB, 700_MiB}) {
      const RefitRun recorded =
          run(read_snapshot(data(name)), "caching", {.capacity_bytes = capacity, .records = true});
      const ReplayResult result = replayed_again(recorded);
      EXPECT_EQ(result.differences, std::optional<std::size_t>(0))
          << name << " in " << capacity << ": " << result.first_difference;
      EXPECT_GT(result.compared, 200u);
    }
}

TEST(Refit, RunTwiceRecordsTheSameBytes) {
  std::string written[2];
  for (std::string& text : written) {
    std::ostringstream out;
    write_snapshot(out, run(read_snapshot(data("stacks")), "legacy_pool", {.records = true}).recorded);
    text = out.str();
  }
  EXPECT_EQ(written[0], written[1]);
}

}  // namespace
}  // namespace drought
