// Pickles of PyTorch snapshots: whatever is read can be written, and reads back with as many events.
#include <sstream>

#include "harness/trace/snapshot.hpp"
#include "harness/trace/snapshot_writer.hpp"
#include "tests/fuzz/reading.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace drought;
  const auto trace = fuzz::read(data, size, read_snapshot_trace);
  if (!trace) return 0;
  std::ostringstream out;
  write_snapshot(out, *trace);
  Snapshot again = read_snapshot(pickle::Document::parse("again", out.str()));
  fuzz::require(again.segments.size() == trace->segments.size(), "as many segments when read back");
  fuzz::require(again.device_traces.size() == trace->device_traces.size(), "as many devices when read back");
  for (std::size_t i = 0; i < again.device_traces.size(); ++i)
    fuzz::require(again.device_traces[i].size() == trace->device_traces[i].size(), "as many events");
  return 0;
}
