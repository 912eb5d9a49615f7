// Whoever recorded it, a file becomes a Trace here. Each reader knows its format by what a file holds,
// never by what it is called, so a log that was renamed, or cut out of a longer one, is still read.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "harness/trace/trace.hpp"
#include "harness/trace/trace_file.hpp"

namespace drought {

struct TraceReader {
  std::string_view name, summary;
  bool (*recognises)(TraceFile& file);
  /// Throws TraceError.
  Trace (*read)(TraceFile& file);
};

/// In the order in which they are asked, those that need to look at the whole of a file last.
std::span<const TraceReader> trace_readers();

/// Throws TraceError that names the known formats when no reader recognises the file.
Trace read_trace(const std::string& path);
Trace read_trace(TraceFile file);

}  // namespace drought
