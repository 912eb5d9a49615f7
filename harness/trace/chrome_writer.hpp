// Writes a trace as the JSON that Perfetto and Chrome's about:tracing open: a process for each device, in it
// a counter of live and reserved bytes, a track for each stream and pool with a slice for every block's life,
// and an instant for each segment that comes or goes and each request that was refused.
#pragma once

#include <iosfwd>
#include <string>

#include "harness/trace/trace.hpp"

namespace drought {

/// Times are the recorder's, or the events' numbers where it has none.
void write_chrome(std::ostream& out, const Trace& trace);
/// Throws TraceError when the file cannot be written.
void write_chrome(const std::string& path, const Trace& trace);

}  // namespace drought
