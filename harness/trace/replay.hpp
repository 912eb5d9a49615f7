// Replays a recorded trace through an allocator. What the program asked for and when, and which
// addresses the driver gave out, are taken from the trace; every decision of the allocator is then
// predicted by running it, and compared: each segment borrowed and given back (kind, bytes, address,
// order), each out of memory, each block's address, and the segments that are left at the end.
//
// What a trace does not record is inferred and counted: a moment (empty_cache was called here; a refusal
// came there), a request's pool (from the segment that its block lies in), or one cap on all reserved
// memory (from the first request that ran out, and confirmed by all others). Everything that follows from
// it is predicted and compared, and what explains nothing is a difference.
// An allocator that cannot log decisions is not compared: the same requests give its statistics.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "harness/device/device.hpp"
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
    std::size_t empty_cache = 0;  ///< Calls.
    std::size_t pool = 0;         ///< Requests whose pool was found from their address.
    std::size_t cap = 0;          ///< Devices whose cap was found.
    std::size_t start = 0;        ///< Segments that were there before the first event.
    std::size_t refusal = 0;      ///< Requests that the driver is seen to have refused, and no cap did.
  } inferred;
  /// Devices whose recording began in the middle and that collect by age: the ages of what was there then
  /// are not known, so that what was collected is not verified.
  std::size_t unverified_ages = 0;
  std::size_t refused = 0;              ///< Requests that ended in OutOfMemory.
  std::size_t reserved_bytes = 0;       ///< At the end, over all devices.
  std::size_t live_bytes = 0;           ///< As requested, at the end, over all devices.
  std::size_t peak_reserved_bytes = 0;  ///< The sum of each device's own peak.
  double ns_per_op = 0;                 ///< Processor time by allocate and deallocate calls.
};

/// Makes the allocator over `upstream`, which lends the trace's addresses: memory that nobody may
/// touch. `device` maps the trace's pages and completes its events. Called again for each device that the
/// trace recorded, and for each assumption that is tried.
using ReplayAllocator = std::function<std::unique_ptr<Resource>(Resource& upstream, Device& device)>;

/// Throws TraceError for settings and segments that no allocator could have had.
ReplayResult replay(const Trace& trace, const ReplayAllocator& make);

/// Throws TraceError.
ReplayResult replay_file(const std::string& path, const ReplayAllocator& make);

}  // namespace drought
