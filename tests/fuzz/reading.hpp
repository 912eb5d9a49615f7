// What every reader owes whatever it is given: a Trace, or one line that says where the file is wrong, and
// events in proportion to the file's bytes.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "harness/trace/trace.hpp"
#include "harness/trace/trace_file.hpp"

namespace drought::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline void require_one_line(std::string_view message) {
  for (const char letter : message)
    require((letter >= ' ' && letter != 127) || letter < 0, "a message of one printable line");
}

/// The trace, if the reader made one.
template <typename Read>
std::optional<Trace> read(const std::uint8_t* data, std::size_t size, Read&& reader) {
  TraceFile file("fuzz", copy_bytes(text_of(data, size)));
  try {
    Trace trace = reader(file);
    std::size_t events = 0;
    for (const auto& device : trace.device_traces) events += device.size();
    require(events <= size, "no more events than the file has bytes");
    require(trace.device_traces.size() <= size + trace_devices_max, "no more devices than there are");
    return trace;
  } catch (const TraceError& error) {
    require_one_line(error.what());
    return std::nullopt;
  }
}

}  // namespace drought::fuzz
