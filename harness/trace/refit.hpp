// What if: the requests of a recorded run, in their order, through any allocator on a simulated device of any
// capacity. Nothing is compared with what the recorder's allocator did; asked is whether it fits, where it
// first does not, and what of the memory held then, and at the peak, was no use.
//
// Capacity is what the allocator may borrow: the device's own context costs nothing here. A request that the
// recorded run was refused is made too, and given back at once if it is served. Where a request is refused
// the run goes on without that block, so what comes after the first refusal is another program's history.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/trace/recorder.hpp"
#include "harness/trace/replay.hpp"

namespace drought {

/// What is held at one moment of a run.
struct HeldMemory {
  std::size_t device = 0, event = 0;   ///< The event of that device's trace that was being replayed.
  std::size_t reserved_bytes = 0;      ///< Borrowed from the device, as the device accounts it.
  std::size_t live_bytes = 0;          ///< Lent, as requested.
  std::size_t largest_hole_bytes = 0;  ///< Of what is reserved and not lent.
  /// Reserved less live: holes, rounding and what is kept for later.
  std::size_t idle_bytes() const { return reserved_bytes - std::min(reserved_bytes, live_bytes); }
  /// Given back if the live blocks were moved together: the idle bytes in whole granules.
  std::size_t compaction_frees_bytes = 0;
};

struct FirstRefusal : HeldMemory {
  std::size_t request_bytes = 0;
  std::uint64_t stream = 0;
  std::size_t free_bytes = 0;  ///< Left on the device.
  std::string why;             ///< What the allocator said.
  /// policy: the device had as much free, and the allocator refused by a rule of its own. fragmentation: it
  /// would have as much, were the live blocks moved together. capacity: not even then.
  std::string_view shortage() const {
    if (request_bytes <= free_bytes) return "policy";
    return request_bytes <= free_bytes + compaction_frees_bytes ? "fragmentation" : "capacity";
  }
};

struct Refit {
  std::string allocator;
  std::size_t capacity_bytes = 0;  ///< Of each device.
  bool fits = false;
  std::optional<FirstRefusal> first_refusal;
  HeldMemory peak;                  ///< Of the device that reserved most.
  std::size_t peak_live_bytes = 0;  ///< The largest of any device.
  std::map<std::string, std::size_t> driver_calls;
  std::size_t granularity_bytes = 0;  ///< In which the device lends, and the least capacity is found.
  bool sought_capacity = false;
  std::optional<std::size_t> least_capacity_bytes;  ///< None: no capacity up to 64 TiB serves it.
};

/// A replay's result and, of a what-if replay, the rest.
struct ReplayReport {
  ReplayResult result;
  std::optional<Refit> refit;
};

struct RefitOptions {
  std::string allocator;           ///< Its name, for the report.
  std::size_t capacity_bytes = 0;  ///< 0: what an H200 lends.
  bool finds_capacity = false;
  bool records = false;
};

/// A chain of resources over the device, base first; requests go to the last.
using ResourceChain = std::vector<std::unique_ptr<Resource>>;
using MakeChain = std::function<ResourceChain(Device&)>;

struct RefitRun {
  ReplayReport report;
  Trace recorded;  ///< What the allocator did, if asked for.
};

/// Runs the trace once, once more up to the peak, and with finds_capacity some twenty times again. The least
/// capacity is such that one granule less does not serve; an allocator may be odd enough to fit at a lower
/// one again, which is not looked for. Passes on what `make` throws, but OutOfMemory, which is a refusal.
RefitRun refit(const Trace& trace, const MakeChain& make, const RefitOptions& options);

}  // namespace drought
