// What the writers write, others open: the pickle of a snapshot by Python and by our own reader, with every
// value as it was; the timeline as JSON whose counters and slices add up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "harness/device/child.hpp"
#include "harness/trace/chrome_writer.hpp"
#include "harness/trace/readers.hpp"
#include "harness/trace/snapshot_writer.hpp"
#include "tests/folder.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

std::string data(const std::string& name) { return source_path("tests/data/" + name + ".pickle"); }

std::string pickled(const Trace& trace) {
  std::ostringstream out;
  write_snapshot(out, trace);
  return out.str();
}

Trace read_again(const std::string& bytes) { return read_trace(TraceFile("again", copy_bytes(bytes))); }

std::string text_of(pickle::Value value) {
  std::ostringstream out;
  switch (value.kind()) {
    case pickle::Kind::string:
      out << value.string();
      break;
    case pickle::Kind::integer:
      out << value.integer_bits();
      break;
    case pickle::Kind::list:
      value.for_each([&](pickle::Value item) { out << "[" << text_of(item) << "]"; });
      break;
    case pickle::Kind::dict:
      value.for_each_entry(
          [&](std::string_view key, pickle::Value entry) { out << key << "=" << text_of(entry) << ";"; });
      break;
    default:
      out << pickle::article_and_name(value.kind());
  }
  return out.str();
}

void expect_equal(const Trace& a, const Trace& b) {
  ASSERT_EQ(a.device_traces.size(), b.device_traces.size());
  for (std::size_t device = 0; device < a.device_traces.size(); ++device) {
    const auto &left = a.device_traces[device], &right = b.device_traces[device];
    ASSERT_EQ(left.size(), right.size());
    for (std::size_t i = 0; i < left.size(); ++i) {
      const auto fields = [](const Trace& trace, const TraceEvent& event) {
        return std::tuple(event.action, event.address, event.bytes, event.stream, event.time_us,
                          event.has_pool, event.has_pool ? trace.pools.at(event.pool).second : 0,
                          text_of(event.frames));
      };
      ASSERT_EQ(fields(a, left[i]), fields(b, right[i])) << "event " << i;
    }
  }
  ASSERT_EQ(a.segments.size(), b.segments.size());
  for (std::size_t i = 0; i < a.segments.size(); ++i) {
    const auto fields = [](const SnapshotSegment& s) {
      return std::tuple(s.device, s.address, s.bytes, s.stream, s.is_small, s.is_expandable, s.pool.second);
    };
    ASSERT_EQ(fields(a.segments[i]), fields(b.segments[i])) << "segment " << i;
    ASSERT_EQ(a.segments[i].blocks.size(), b.segments[i].blocks.size());
    for (std::size_t j = 0; j < a.segments[i].blocks.size(); ++j) {
      const auto block = [](const SnapshotBlock& s) {
        return std::tuple(s.address, s.bytes, s.requested_bytes, s.state);
      };
      ASSERT_EQ(block(a.segments[i].blocks[j]), block(b.segments[i].blocks[j])) << i << ", " << j;
    }
  }
  EXPECT_EQ(a.settings.conf, b.settings.conf);
  EXPECT_EQ(a.settings.max_split_size, b.settings.max_split_size);
  EXPECT_EQ(a.settings.garbage_collection_threshold, b.settings.garbage_collection_threshold);
  EXPECT_EQ(a.settings.expandable_segments, b.settings.expandable_segments);
  EXPECT_EQ(a.settings.roundup_power2_divisions, b.settings.roundup_power2_divisions);
}

TEST(SnapshotWriter, WritesEveryShippedTraceSoThatItReadsBackEqual) {
  for (const char* name : {"stacks", "frag_oom", "gpt_train", "streams"}) {
    const Trace trace = read_trace(data(name));
    expect_equal(trace, read_again(pickled(trace)));
  }
}

Trace odd_trace() {
  Trace trace;
  trace.pools = {{0, 0}, {0, ~std::uint64_t{0}}};
  trace.settings.conf = "max_split_size_mb:32";
  trace.settings.max_split_size = 32 << 20;
  trace.settings.garbage_collection_threshold = 0.5;
  trace.settings.expandable_segments = true;
  trace.settings.roundup_power2_divisions = {8, 4, 1};
  trace.device_traces.resize(2);
  auto& events = trace.device_traces[0];
  for (const std::uint64_t value :
       {std::uint64_t{0}, std::uint64_t{255}, std::uint64_t{256}, std::uint64_t{65535}, std::uint64_t{65536},
        std::uint64_t{1} << 31, std::uint64_t{1} << 32, (std::uint64_t{1} << 63) - 1, std::uint64_t{1} << 63,
        ~std::uint64_t{0}}) {
    TraceEvent event;
    event.action = value % 2 ? TraceAction::oom : TraceAction::segment_map;
    event.address = event.stream = value;
    event.bytes = value >> 1;
    event.time_us = -static_cast<std::int64_t>(value >> 1);
    event.has_pool = true;
    event.pool = value % 2;
    events.push_back(event);
  }
  trace.segments.push_back({.device = 1,
                            .address = std::uint64_t{1} << 63,
                            .bytes = 4096,
                            .stream = 7,
                            .is_small = true,
                            .is_expandable = true,
                            .pool = {0, 3},
                            .blocks = {{std::uint64_t{1} << 63, 512, 500, BlockState::active_pending_free},
                                       {(std::uint64_t{1} << 63) + 512, 3584, 0, BlockState::inactive}}});
  return trace;
}

TEST(SnapshotWriter, KeepsIntegersAtEveryBorderAndEverySetting) {
  expect_equal(odd_trace(), read_again(pickled(odd_trace())));
}

TEST(SnapshotWriter, WritesListsOfMoreThanOneBatchAndNoneAtTheBorder) {
  for (const std::size_t count : {0, 999, 1000, 1001, 2000, 70'000}) {
    Trace trace;
    trace.device_traces.emplace_back().resize(count);
    for (std::size_t i = 0; i < count; ++i) trace.device_traces[0][i].address = i;
    expect_equal(trace, read_again(pickled(trace)));
  }
}

TEST(SnapshotWriter, WritesWhatPythonsPickleModuleReadsWithTheDocumentedKeys) {
  if (std::system("python3 -c 'import pickle, pickletools' 2>/dev/null") != 0)
    GTEST_SKIP() << "python3 is not here, so its pickle module reads nothing";
  const Folder scratch;
  write_snapshot(scratch.path("s.pickle"), odd_trace());
  std::ofstream(scratch.path("check.py")) << R"(
import pickle, pickletools, sys
data = open(sys.argv[1], 'rb').read()
pickletools.dis(data, out=open('/dev/null', 'w'))
s = pickle.loads(data)
assert sorted(s) == ['allocator_settings', 'device_traces', 'external_annotations', 'segments'], s.keys()
events = s['device_traces'][0]
assert [e['size'] for e in events][-3:] == [2**62 - 1, 2**62, 2**63 - 1], events
assert events[-1]['device_free'] == 2**64 - 1 and events[-1]['action'] == 'oom'
assert events[-2]['addr'] == 2**63 and events[-2]['action'] == 'segment_map'
assert events[-1]['pool_id'] == (0, 2**64 - 1) and events[0]['time_us'] == 0
segment = s['segments'][0]
assert segment['total_size'] == 4096 and segment['allocated_size'] == 0 and segment['active_size'] == 512
assert segment['requested_size'] == 500 and segment['segment_type'] == 'small'
assert segment['is_expandable'] is True
assert [b['state'] for b in segment['blocks']] == ['active_pending_free', 'inactive']
assert s['allocator_settings']['roundup_power2_divisions'] == {'1': 8, '2': 4, '4': 1}
assert s['allocator_settings']['garbage_collection_threshold'] == 0.5
print('read')
)";
  Child::Options options;
  options.program = "/bin/sh";
  options.arguments = {
      "-c", "exec python3 '" + scratch.path("check.py") + "' '" + scratch.path("s.pickle") + "' 2>&1"};
  const ChildEnd end = Child(options).finish();
  EXPECT_EQ(end.record, "read\n");
}

TEST(SnapshotWriter, SaysThatAFileCannotBeWritten) {
  EXPECT_THROW(write_snapshot("/no/such/folder/x", Trace()), TraceError);
  EXPECT_THROW(write_chrome("/no/such/folder/x", Trace()), TraceError);
}

TEST(ChromeWriter, WritesATimelineWhoseCountersAndSlicesAddUp) {
  const Trace trace = read_trace(data("streams"));
  std::ostringstream out;
  write_chrome(out, trace);
  const auto events = nlohmann::json::parse(out.str()).at("traceEvents");
  std::map<std::uint64_t, int> open;
  std::set<std::string> tracks;
  std::uint64_t live = 0, reserved = 0, instants = 0;
  double latest = 0;
  for (const auto& event : events) {
    const std::string phase = event.at("ph");
    EXPECT_GE(event.at("ts").get<double>(), latest);
    latest = event.at("ts");
    if (phase == "b") {
      ++open[event.at("id")];
      tracks.insert(event.at("name"));
    }
    if (phase == "e") --open[event.at("id")];
    if (phase == "i") ++instants;
    if (phase != "C") continue;
    live = event.at("args").at("live");
    reserved = event.at("args").at("reserved");
  }
  EXPECT_EQ(open.size(), 3000u) << "a slice for every alloc";
  for (const auto& [id, count] : open) EXPECT_EQ(count, 0) << id;
  EXPECT_EQ(tracks.size(), 3u) << "one for each stream";
  EXPECT_EQ(instants, 89u + 75u);
  std::uint64_t held = 0, lent = 0;
  for (const SnapshotSegment& segment : trace.segments) {
    held += segment.bytes;
    for (const SnapshotBlock& block : segment.blocks)
      lent += block.requested_bytes * (block.state == BlockState::active_allocated);
  }
  EXPECT_EQ(reserved, held);
  EXPECT_EQ(live, lent);
}

}  // namespace
}  // namespace drought
