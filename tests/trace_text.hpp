// Recorded files made up in a test, and how a reader refuses one.
#pragma once

#include <string>
#include <string_view>

#include "harness/trace/readers.hpp"

namespace drought {

/// Whatever reader recognises `text`, as if it were a file called t.
inline Trace trace_of(std::string_view text) { return read_trace(TraceFile("t", copy_bytes(text))); }

/// The one line with which `text` is refused; "" when it is read.
inline std::string refusal_of_trace(std::string_view text) {
  try {
    trace_of(text);
  } catch (const TraceError& error) {
    return error.what();
  }
  return "";
}

/// "alloc 4096 at 0x7f00 stream 1", a line an event.
inline std::string listing_of(const Trace& trace, std::size_t device = 0) {
  std::string text;
  for (const TraceEvent& event : trace.device_traces.at(device)) {
    char line[128];
    std::snprintf(line, sizeof line, "%s %llu at 0x%llx stream %llu\n",
                  std::string(name(event.action)).c_str(), static_cast<unsigned long long>(event.bytes),
                  static_cast<unsigned long long>(event.address),
                  static_cast<unsigned long long>(event.stream));
    text += line;
  }
  return text;
}

}  // namespace drought
