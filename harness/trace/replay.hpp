// Replays a recorded trace through an allocator. What the program asked for and when, and which
// addresses the driver gave out, are taken from the trace; every decision of the allocator is then
// predicted by running it, and compared: each segment borrowed and given back (kind, bytes, address,
// order), each out of memory, each block's address, and the segments that are left at the end.
//
// One thing is inferred, because a trace does not record it: a call of empty_cache, where segments go
// back and no request explains why. It is counted, and everything that it causes is compared.
// An allocator that cannot log decisions is not compared: the same requests give its statistics.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "harness/memory/resource.hpp"
#include "harness/trace/trace.hpp"

namespace drought {

struct ReplayResult {
  std::string trace;
  std::size_t events = 0;
  std::size_t compared = 0;                ///< Predictions held against the trace.
  std::optional<std::size_t> differences;  ///< None when the allocator logs no decisions.
  std::string first_difference;            ///< Event, expected, got, the free blocks at that moment.
  struct Inferred {
    std::size_t empty_cache = 0;
  } inferred;
  std::size_t refused = 0;              ///< Requests that ended in OutOfMemory.
  std::size_t reserved_bytes = 0;       ///< At the end, over all devices.
  std::size_t live_bytes = 0;           ///< As requested, at the end, over all devices.
  std::size_t peak_reserved_bytes = 0;  ///< The sum of each device's own peak.
  double ns_per_op = 0;                 ///< Processor time by allocate and deallocate calls.
};

/// Makes the allocator over `upstream`, which lends the trace's addresses: memory that nobody may
/// touch. One that borrows from a device of its own ignores it. Called once for each device that the
/// trace recorded, and again when a difference is to be explained.
using ReplayAllocator = std::function<std::unique_ptr<Resource>(Resource& upstream)>;

ReplayResult replay(const Trace& trace, const ReplayAllocator& make);

/// Throws TraceError.
ReplayResult replay_file(const std::string& path, const ReplayAllocator& make);

}  // namespace drought
