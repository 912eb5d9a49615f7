// PyTorch's torch.cuda.memory._snapshot() as typed, checked data: what the allocator held when it
// was taken, and the recorded events that led there. Read from a pickle by either of its writers.
//
// A wrong type is a TraceError that names the place: "file: device_traces[0][17].addr: expected an
// integer, got a string". Frames stay in the pickle's tree and are looked at only when asked for.
#pragma once

#include <string>

#include "harness/trace/pickle.hpp"
#include "harness/trace/trace.hpp"

namespace drought {

struct Snapshot : Trace {
  pickle::Document document;  ///< What frames point into.
};

/// Throws TraceError.
Snapshot read_snapshot(const std::string& path);
Snapshot read_snapshot(pickle::Document document);

/// A file that begins as pickles of protocol 2 and later do.
bool is_pickle(TraceFile& file);
/// The trace, which keeps the pickle's tree only where events have frames. Throws TraceError.
Trace read_snapshot_trace(TraceFile& file);

}  // namespace drought
