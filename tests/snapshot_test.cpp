// A snapshot is read from the pickles of either writer; what is missing or cut off is told by its place.
#include "harness/trace/snapshot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "allocators/caching.hpp"
#include "harness/trace/replay.hpp"
#include "tests/scripted_device.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kStacks = source_path("tests/data/stacks.pickle");

TEST(Snapshot, KeepsFramesSettingsAndBlocks) {
  const Snapshot snapshot = read_snapshot(kStacks);
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

TEST(Snapshot, RefusesARecordOfMoreFieldsThanAnyRecorderWritesAndAThousandStreams) {
  std::string fields;
  for (int i = 0; i < 300; ++i) fields += key("x") + "K\x01";
  EXPECT_EQ(refusal_of(one_event(fields)), "t: device_traces[0][0]: more than 256 fields");
  std::string events;
  for (int i = 0; i < 1100; ++i)
    events += "}(" + key("action") + key("alloc") + key("addr") + "K\x40" + key("size") + "K\x10" +
              key("stream") + "M" + static_cast<char>(i & 255) + static_cast<char>(i >> 8) + "u";
  EXPECT_EQ(refusal_of(snapshot_with(events)),
            "t: device_traces[0][1024].stream: more than 1024 different streams");
}

TEST(Snapshot, WithADamagedByteIsRefusedOrReplayedButNeverACrash) {
  const std::string whole = text_of(kStacks);
  const auto make = [&](Resource& upstream, Device& device) {
    return std::make_unique<Caching>(upstream, device, Caching::Options());
  };
  std::size_t refused = 0, replayed = 0;
  std::uint32_t random = 7;
  for (std::size_t at = 0; at < whole.size(); at += 11) {
    std::string damaged = whole;
    random = random * 1664525 + 1013904223;
    damaged[at] = static_cast<char>(random >> 24);
    try {
      replay(read_snapshot(pickle::Document::parse("t", damaged)), make);
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
