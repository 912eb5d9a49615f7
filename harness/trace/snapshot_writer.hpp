// Writes a trace as torch.cuda.memory._snapshot() pickled by Python at protocol 2, so that PyTorch's
// memory_viz opens what any allocator did, and read_snapshot reads it again.
#pragma once

#include <iosfwd>
#include <string>

#include "harness/trace/trace.hpp"

namespace drought {

void write_snapshot(std::ostream& out, const Trace& trace);
/// Throws TraceError when the file cannot be written.
void write_snapshot(const std::string& path, const Trace& trace);

}  // namespace drought
