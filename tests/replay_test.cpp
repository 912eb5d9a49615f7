#include "harness/trace/replay.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "allocators/catalogue.hpp"
#include "harness/scenario/table.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string data(const std::string& name) {
  return std::string(DROUGHT_SOURCE) + "/tests/data/" + name + ".pickle";
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
  const std::string path = std::string(DROUGHT_SHARED) + "/traces/public_silmont2000.pickle";
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
    const auto make = [&](Resource& upstream) { return entry.make(Table(), &upstream, device); };
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

TEST(Snapshot, KeepsFramesSettingsAndBlocks) {
  const Snapshot snapshot = read_snapshot(data("stacks"));
  EXPECT_EQ(snapshot.segments.size(), 7u);
  std::size_t blocks = 0, with_frames = 0;
  for (const SnapshotSegment& segment : snapshot.segments) {
    std::uint64_t next = segment.address;
    for (const SnapshotBlock& block : segment.blocks) {
      EXPECT_EQ(block.address, next) << "blocks tile their segment";
      next += block.bytes;
      ++blocks;
    }
    EXPECT_EQ(next, segment.address + segment.bytes);
  }
  EXPECT_GE(blocks, 38u);
  for (const TraceEvent& event : snapshot.device_traces.at(0))
    with_frames += event.frames.exists() && event.frames.size() > 0;
  EXPECT_GT(with_frames, 100u);
  EXPECT_EQ(snapshot.settings.max_split_size, -1);
  EXPECT_FALSE(snapshot.settings.expandable_segments);
  EXPECT_EQ(snapshot.settings.roundup_power2_divisions.size(), 16u);
}

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string key(std::string_view word) {
  return "\x8c" + std::string(1, static_cast<char>(word.size())) + std::string(word);
}

/// A pickle of a snapshot whose one device has these pickled events.
std::string snapshot_with(const std::string& events) {
  return "\x80\x04}(" + key("segments") + "]" + key("device_traces") + "](](" + events + "eeu.";
}

std::string one_event(const std::string& fields) { return snapshot_with("}(" + fields + "u"); }

std::string refusal_of(const std::string& pickle) {
  try {
    read_snapshot(pickle::Document::parse("t", pickle));
  } catch (const TraceError& error) {
    return error.what();
  }
  return "";
}

TEST(Snapshot, NamesThePathOfAFieldThatIsMissingOrOfAWrongType) {
  const std::string action = key("action") + key("alloc"), address = key("addr") + "K\x40";
  const std::string size = key("size") + "K\x10", stream = key("stream") + "K\x01";
  EXPECT_EQ(refusal_of(one_event(action + address + size + stream)), "");
  EXPECT_EQ(refusal_of(one_event(action + key("addr") + key("x") + size + stream)),
            "t: device_traces[0][0].addr: expected an integer, got a string");
  EXPECT_EQ(refusal_of(one_event(action + size + stream)),
            "t: device_traces[0][0].addr: expected an integer, got nothing");
  EXPECT_EQ(
      refusal_of(one_event(action + address + key("size") + "J\xff\xff\xff\xff" + stream)),
      "t: device_traces[0][0].size: expected a number of bytes, got one that is negative or 2^63 and more");
  EXPECT_THAT(refusal_of(one_event(key("action") + key("jump\n") + address + size + stream)),
              StartsWith("t: device_traces[0][0].action: unknown action 'jump?'; known: alloc, "));
  EXPECT_EQ(refusal_of("\x80\x04K\x01."), "t: the pickle: expected a dict, got an integer");
  EXPECT_EQ(refusal_of("\x80\x04}."), "t: segments: expected a list, got nothing");
}

TEST(Snapshot, RefusesAListThatRepeatsOneEventFarMoreOftenThanItsFileCouldDescribe) {
  // One event in the memo, then two bytes for each further mention of it.
  std::string events = "}\x94(" + key("action") + key("alloc") + key("addr") + "K\x40" + key("size") +
                       "K\x10" + key("stream") + "K\x01u";
  for (int i = 0; i < 10'000; ++i) events += std::string("h") + '\0';
  EXPECT_THAT(refusal_of(snapshot_with(events)),
              HasSubstr("more entries than a file of this size can describe"));
}

TEST(Snapshot, WithADamagedByteIsRefusedOrReplayedButNeverACrash) {
  const std::string whole = text_of(data("stacks"));
  std::size_t refused = 0, replayed = 0;
  std::uint32_t random = 7;
  for (std::size_t at = 0; at < whole.size(); at += 11) {
    std::string damaged = whole;
    random = random * 1664525 + 1013904223;
    damaged[at] = static_cast<char>(random >> 24);
    try {
      replay_caching(read_snapshot(pickle::Document::parse("t", damaged)));
      ++replayed;
    } catch (const TraceError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100u);
  EXPECT_GT(replayed, 100u);
}

}  // namespace
}  // namespace drought
