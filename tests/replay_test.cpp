// A recorded trace, replayed, gives the recorded decisions; a difference is found and named.
#include "harness/trace/replay.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <utility>

#include "allocators/catalogue.hpp"
#include "harness/scenario/table.hpp"
#include "harness/trace/snapshot.hpp"
#include "tests/conformance.hpp"
#include "tests/scripted_device.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string data(const std::string& name) {
  return source_path("tests/data/" + std::string(name) + ".pickle");
}

/// The allocator of the catalogue, as a replay makes it.
ReplayAllocator allocator(std::string_view name, Device& device) {
  return [entry = find_entry(allocator_catalogue(), name), &device](Resource& upstream) {
    return entry->make(Table(), &upstream, device);
  };
}

ReplayResult replay_caching(const Snapshot& snapshot) {
  ScriptedDevice device;
  return replay(snapshot, allocator("caching", device));
}

/// The allocator under its defaults, or, where it must be told a capacity, under one that holds any trace.
std::unique_ptr<Resource> with_defaults(const AllocatorEntry& entry, Resource& upstream, Device& device) {
  try {
    return make_allocator(entry, &upstream, device);
  } catch (const std::invalid_argument&) {
    return entry.make(parse_toml("capacity_bytes = '1 TiB'", "options"), &upstream, device);
  }
}

/// The index of the nth event with this action on device 0.
std::size_t nth(const Snapshot& snapshot, TraceAction action, std::size_t n) {
  const auto& events = snapshot.device_traces.at(0);
  for (std::size_t i = 0; i < events.size(); ++i)
    if (events[i].action == action && n-- == 0) return i;
  ADD_FAILURE() << "the trace has too few of " << name(action);
  return 0;
}

struct Recorded {
  std::string name;
  std::size_t events, compared_min, empty_cache;
  std::size_t reserved_bytes;  ///< The sum of total_size over the snapshot's segments.
};

class RecordedTrace : public testing::TestWithParam<Recorded> {};

TEST_P(RecordedTrace, IsPredictedByCachingInEverySegmentEventAndBlockAddress) {
  ScriptedDevice device;
  const ReplayResult result = replay_file(data(GetParam().name), allocator("caching", device));
  EXPECT_EQ(result.first_difference, "");
  ASSERT_TRUE(result.differences.has_value());
  EXPECT_EQ(*result.differences, 0u);
  EXPECT_EQ(result.events, GetParam().events);
  EXPECT_GE(result.compared, GetParam().compared_min) << "each alloc and each segment event is compared";
  EXPECT_EQ(result.inferred.empty_cache, GetParam().empty_cache);
  EXPECT_EQ(result.reserved_bytes, GetParam().reserved_bytes);
}

// The events of each kind are counted in the traces themselves: alloc, segment_alloc, segment_free.
INSTANTIATE_TEST_SUITE_P(Shipped, RecordedTrace,
                         testing::Values(Recorded{"gpt_train", 17797, 6057 + 92, 0, 2644508672},
                                         Recorded{"stacks", 555, 208 + 7, 0, 83886080},
                                         Recorded{"streams", 9084, 3000 + 89 + 75, 6, 195035136},
                                         Recorded{"frag_oom", 6112, 2064 + 21 + 8, 0, 991952896}),
                         [](const auto& info) { return info.param.name; });

TEST(Replay, OfThePublicTraceHasNoDifference) {
  const std::string path = shared_path("traces/public_silmont2000.pickle");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there, so it is not replayed";
  ScriptedDevice device;
  const ReplayResult result = replay_file(path, allocator("caching", device));
  EXPECT_EQ(result.first_difference, "");
  EXPECT_EQ(result.differences, std::optional<std::size_t>(0));
  EXPECT_GE(result.compared, 36u + 9u);
}

TEST(Replay, NamesABlockAddressThatIsNotThePredictedOneAndTheFreeBlocksBefore) {
  Snapshot snapshot = read_snapshot(data("stacks"));
  const std::size_t event = nth(snapshot, TraceAction::alloc, 50);
  snapshot.device_traces[0][event].address += 512;
  const ReplayResult result = replay_caching(snapshot);
  EXPECT_GE(result.differences.value(), 1u);
  EXPECT_THAT(result.first_difference,
              StartsWith("device 0, event " + std::to_string(event) + ": expected alloc of "));
  EXPECT_THAT(result.first_difference, HasSubstr("free blocks of its stream before: "));
  EXPECT_THAT(result.first_difference, HasSubstr(" B at 0x"));
}

TEST(Replay, NamesASegmentOfAnotherSizeThanThePredictedOne) {
  Snapshot snapshot = read_snapshot(data("stacks"));
  const std::size_t event = nth(snapshot, TraceAction::segment_alloc, 2);
  const std::string right = std::to_string(snapshot.device_traces[0][event].bytes);
  snapshot.device_traces[0][event].bytes += 2_MiB;
  const ReplayResult result = replay_caching(snapshot);
  EXPECT_GE(result.differences.value(), 1u);
  EXPECT_THAT(result.first_difference, StartsWith("device 0, event " + std::to_string(event) + ": "));
  EXPECT_THAT(result.first_difference, HasSubstr("got segment_alloc of " + right + " B"));
}

TEST(Replay, NamesASegmentThatTheTraceBorrowsAndTheRulesDoNot) {
  Snapshot snapshot = read_snapshot(data("gpt_train"));
  auto& events = snapshot.device_traces[0];
  const std::size_t event = nth(snapshot, TraceAction::alloc, 100);
  TraceEvent extra;
  extra.action = TraceAction::segment_alloc;
  extra.address = 0x1000'0000;
  extra.bytes = 2_MiB;
  events.insert(events.begin() + static_cast<std::ptrdiff_t>(event), extra);
  const ReplayResult result = replay_caching(snapshot);
  EXPECT_THAT(result.first_difference, StartsWith("device 0, event " + std::to_string(event) +
                                                  ": expected segment_alloc of 2097152 B at 0x10000000"));
  EXPECT_THAT(result.first_difference, HasSubstr("got nothing"));
}

TEST(Replay, NamesASegmentThatTheRulesBorrowAndTheTraceDoesNot) {
  Snapshot snapshot = read_snapshot(data("stacks"));
  auto& events = snapshot.device_traces[0];
  const std::size_t event = nth(snapshot, TraceAction::segment_alloc, 1);
  events.erase(events.begin() + static_cast<std::ptrdiff_t>(event));
  const ReplayResult result = replay_caching(snapshot);
  EXPECT_THAT(result.first_difference, StartsWith("device 0, event " + std::to_string(event) +
                                                  ": expected no segment event here, got segment_alloc of "));
}

TEST(Replay, ComparesTheOrderInWhichSegmentsOfOneSizeGoBack) {
  Snapshot snapshot = read_snapshot(data("streams"));
  auto& events = snapshot.device_traces[0];
  std::size_t event = 1;
  const auto is_pair = [&](const TraceEvent& a, const TraceEvent& b) {
    return a.action == TraceAction::segment_free && b.action == TraceAction::segment_free &&
           a.bytes == b.bytes && a.stream == b.stream;
  };
  while (event < events.size() && !is_pair(events[event - 1], events[event])) ++event;
  ASSERT_LT(event, events.size()) << "no two segments of one size go back together";
  std::swap(events[event - 1].address, events[event].address);
  const ReplayResult result = replay_caching(snapshot);
  EXPECT_EQ(result.differences, std::optional<std::size_t>(2));
  EXPECT_THAT(result.first_difference, StartsWith("device 0, event " + std::to_string(event - 1) + ": "));
}

TEST(Replay, NeverLendsASegmentWhereAnotherStillLies) {
  Snapshot snapshot = read_snapshot(data("stacks"));
  auto& events = snapshot.device_traces[0];
  const std::size_t event = nth(snapshot, TraceAction::segment_alloc, 1);
  events[event].address = events[nth(snapshot, TraceAction::segment_alloc, 0)].address + 512;
  EXPECT_THAT(replay_caching(snapshot).first_difference,
              StartsWith("device 0, event " + std::to_string(event) + ": expected segment_alloc of "));
}

TEST(Replay, CountsAnEmptyCacheThatExplainsNothingAsADifference) {
  Snapshot snapshot = read_snapshot(data("stacks"));
  auto& events = snapshot.device_traces[0];
  TraceEvent extra;
  extra.action = TraceAction::segment_free;
  extra.address = events[0].address;
  extra.bytes = events[0].bytes;
  ASSERT_EQ(events[1].action, TraceAction::alloc) << "the only segment is in use";
  events.insert(events.begin() + 2, extra);
  const ReplayResult result = replay_caching(snapshot);
  EXPECT_GE(result.differences.value(), 1u);
  EXPECT_THAT(result.first_difference, StartsWith("device 0, event 2: "));
}

TEST(Replay, NoticesAFreeOfAnotherSizeAndOneOfAnUnknownBlock) {
  for (const bool is_unknown : {true, false}) {
    Snapshot snapshot = read_snapshot(data("stacks"));
    const std::size_t event = nth(snapshot, TraceAction::free_requested, 20);
    (is_unknown ? snapshot.device_traces[0][event].address : snapshot.device_traces[0][event].bytes) += 1;
    const ReplayResult result = replay_caching(snapshot);
    EXPECT_EQ(result.differences, std::optional<std::size_t>(1));
    EXPECT_THAT(result.first_difference, StartsWith("device 0, event " + std::to_string(event) + ": "));
  }
}

TEST(Replay, ComparesTheSegmentsThatAreLeftAtTheEnd) {
  Snapshot snapshot = read_snapshot(data("stacks"));
  snapshot.segments.pop_back();
  EXPECT_THAT(replay_caching(snapshot).first_difference, HasSubstr("at the end expected no segment"));
  snapshot = read_snapshot(data("stacks"));
  snapshot.segments.back().bytes += 512;
  EXPECT_THAT(replay_caching(snapshot).first_difference, HasSubstr("at the end expected a segment"));
}

TEST(Replay, GivesAnAllocatorThatLogsNoDecisionsItsStatisticsOnly) {
  std::size_t tried = 0;
  for (const AllocatorEntry& entry : allocator_catalogue()) {
    ScriptedDevice device;
    const Snapshot snapshot = read_snapshot(data("stacks"));
    const auto make = [&](Resource& upstream) { return with_defaults(entry, upstream, device); };
    const ReplayResult result = replay(snapshot, make);
    EXPECT_EQ(result.events, 555u) << entry.name;
    EXPECT_GE(result.peak_reserved_bytes, result.live_bytes) << entry.name;
    EXPECT_EQ(result.live_bytes == 59836416, result.refused == 0) << entry.name;
    EXPECT_EQ(device.held_bytes(), 0u) << entry.name << " kept what it borrowed";
    if (result.differences) continue;
    EXPECT_EQ(result.compared, 0u) << entry.name;
    EXPECT_EQ(result.first_difference, "") << entry.name;
    ++tried;
  }
  EXPECT_GE(tried, 3u) << "direct, bump and legacy_pool log no decisions";
}

TEST(Replay, TakesOtherRulesForDifferences) {
  // The same allocator with the ties of another release decides otherwise somewhere in a long trace.
  ScriptedDevice device;
  const Table options = parse_toml("ties = 'age'", "options");
  const ReplayResult result = replay_file(data("gpt_train"), [&](Resource& upstream) {
    return find_entry(allocator_catalogue(), "caching")->make(options, &upstream, device);
  });
  EXPECT_GE(result.differences.value(), 1u);
  EXPECT_NE(result.first_difference, "");
}

}  // namespace
}  // namespace drought
