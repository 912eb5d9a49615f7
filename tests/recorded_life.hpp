// A program's life under the caching allocator, and the trace that PyTorch's recorder would have written of
// it: random requests on several streams, into pools, under a cap or a full device, with uses on other
// streams that complete late. So a replay is tried on settings and mixtures that no shipped trace has.
#pragma once

#include <cstdint>
#include <string>

#include "allocators/caching.hpp"
#include "harness/trace/trace.hpp"

namespace drought {

struct Life {
  std::string name;
  std::string conf{};
  std::size_t cap_bytes = 0;                         ///< Of the allocator; 0: none.
  std::size_t device_bytes = std::size_t{64} << 30;  ///< What the driver has.
  std::size_t steps = 1200;
  std::size_t live_max = 60;
  unsigned size_bits = 27;  ///< Requests are below 2^size_bits.
  unsigned streams = 1;
  unsigned pools = 0;
  bool names_pools = false;   ///< The recorder names the pool of each event.
  bool uses_streams = false;  ///< Some blocks are used on another stream.
  bool empties = false;       ///< empty_cache is called now and then.
};

/// The trace, complete from an empty device on. The same for the same seed.
Trace trace_of(const Life& life, std::uint64_t seed);

}  // namespace drought
