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
#include "tests/named.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string data(const std::string& name) {
  return source_path("tests/data/" + std::string(name) + ".pickle");
}

/// The allocator of the catalogue, as a replay makes it.
ReplayAllocator allocator(std::string_view name) {
  return [entry = find_entry(allocator_catalogue(), name)](Resource& upstream, Device& device) {
    return entry->make(Table(), &upstream, device);
  };
}

ReplayResult replay_caching(const Snapshot& snapshot) { return replay(snapshot, allocator("caching")); }

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
  bool is_shipped;
  std::size_t events, compared_min;
  std::size_t reserved_bytes;  ///< The sum of total_size over the snapshot's segments.
  ReplayResult::Inferred inferred;
};

void PrintTo(const Recorded& recorded, std::ostream* out) { *out << recorded.name; }

class RecordedTrace : public testing::TestWithParam<Recorded> {};

TEST_P(RecordedTrace, IsPredictedByCachingInEverySegmentEventAndBlockAddress) {
  const Recorded& known = GetParam();
  const std::string path =
      known.is_shipped ? data(known.name) : shared_path("traces/" + known.name + ".pickle");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there, so it is not replayed";
  const ReplayResult result = replay_file(path, allocator("caching"));
  EXPECT_EQ(result.first_difference, "");
  ASSERT_TRUE(result.differences.has_value());
  EXPECT_EQ(*result.differences, 0u);
  EXPECT_EQ(result.events, known.events);
  EXPECT_GE(result.compared, known.compared_min) << "each alloc and each segment event is compared";
  EXPECT_EQ(result.reserved_bytes, known.reserved_bytes);
  EXPECT_EQ(result.inferred.empty_cache, known.inferred.empty_cache);
  EXPECT_EQ(result.inferred.pool, known.inferred.pool);
  EXPECT_EQ(result.inferred.cap, known.inferred.cap);
  EXPECT_EQ(result.inferred.start, known.inferred.start);
  EXPECT_EQ(result.inferred.refusal, 0u) << "a cap explains every refusal";
}

// The events of each kind are counted in the traces themselves: alloc, then segments that come and go.
INSTANTIATE_TEST_SUITE_P(
    Shipped, RecordedTrace,
    testing::Values(Recorded{"gpt_train", true, 17797, 6057 + 92, 2644508672, {}},
                    Recorded{"stacks", true, 555, 208 + 7, 83886080, {}},
                    Recorded{"streams", true, 9084, 3000 + 89 + 75, 195035136, {.empty_cache = 6}},
                    Recorded{"frag_oom", true, 6112, 2064 + 21 + 8, 991952896, {.cap = 1}},
                    Recorded{"gc_round", true, 7661, 2544 + 30 + 22, 1142947840, {.cap = 1}},
                    Recorded{"expandable", true, 4502, 1539 + 36 + 5, 2109734912, {.empty_cache = 1}},
                    Recorded{"graphs", true, 240, 91 + 20 + 3, 262144000, {.empty_cache = 1, .pool = 32}},
                    Recorded{
                        "pools_dev", true, 1188, 438 + 23 + 3, 354418688, {.empty_cache = 1, .pool = 169}},
                    Recorded{"fuzz12", false, 11073, 3089 + 893 + 881, 706740224, {.cap = 1}},
                    Recorded{"wrapped", false, 3000, 1028 + 14, 1220542464, {.start = 15}},
                    Recorded{"public_silmont2000", false, 97, 36 + 9, 3781165056, {}}),
    by_name);

// A ring that held only the last events shows neither what was there before nor how it came to be.
TEST(Replay, RebuildsTheStartOfATraceWhoseBeginningWasOverwritten) {
  // Where nothing shows how long a block lent before the recording is, it is taken to be no longer than it
  // was rounded: right for all but one of these traces' many starts, "streams" without its first 10 %.
  for (const std::string name : {"gpt_train", "streams", "stacks", "frag_oom", "pools_dev"}) {
    for (const std::size_t percent : {10, 35, 60, 90}) {
      if (name == "streams" && percent == 10) continue;
      Snapshot snapshot = read_snapshot(data(name));
      auto& events = snapshot.device_traces[0];
      const std::size_t cut = events.size() * percent / 100;
      events.erase(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(cut));
      const ReplayResult result = replay_caching(snapshot);
      EXPECT_EQ(result.first_difference, "") << name << " without its first " << percent << " %";
      EXPECT_GE(result.inferred.start, 1u);
    }
  }
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
  std::erase_if(snapshot.segments,
                [&](const SnapshotSegment& segment) { return segment.address == events[event].address; });
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
    const auto device = make_host_device(profile_named("h200"), {.work = Device::Work::shapes});
    const Snapshot snapshot = read_snapshot(data("stacks"));
    const auto make = [&](Resource& upstream, Device&) { return with_defaults(entry, upstream, *device); };
    const ReplayResult result = replay(snapshot, make);
    EXPECT_EQ(result.events, 555u) << entry.name;
    EXPECT_GE(result.peak_reserved_bytes, result.live_bytes) << entry.name;
    EXPECT_EQ(result.live_bytes == 59836416, result.refused == 0) << entry.name;
    EXPECT_EQ(device->held_bytes(), 0u) << entry.name << " kept what it borrowed";
    if (result.differences) continue;
    EXPECT_EQ(result.compared, 0u) << entry.name;
    EXPECT_EQ(result.first_difference, "") << entry.name;
    ++tried;
  }
  EXPECT_GE(tried, 3u) << "direct, bump and legacy_pool log no decisions";
}

TEST(Replay, TakesOtherRulesForDifferences) {
  // The same allocator with the ties of another release decides otherwise somewhere in a long trace.
  const Table options = parse_toml("ties = 'age'", "options");
  const ReplayResult result = replay_file(data("gpt_train"), [&](Resource& upstream, Device& device) {
    return find_entry(allocator_catalogue(), "caching")->make(options, &upstream, device);
  });
  EXPECT_GE(result.differences.value(), 1u);
  EXPECT_NE(result.first_difference, "");
}

}  // namespace
}  // namespace drought
