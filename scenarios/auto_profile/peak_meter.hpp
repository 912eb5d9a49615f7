// Knows the most that one rank reserved since it was last told to start again. A process-lifetime peak
// also counts what loading the weights took for a moment, and the cache then comes out too small.
//
// Reserved is what the allocator has borrowed, idle memory included, where the topmost one of the chain
// can say so (Trims); else what is lent. It looks when it is told to, after an allocation; it does not
// stand between a buffer and its resource, because a lease that leaks outlives the server.
#pragma once

#include <algorithm>
#include <cstddef>

#include "harness/memory/interfaces.hpp"
#include "harness/scenario/rig.hpp"

namespace drought {

class PeakMeter {
 public:
  /// `rig` outlives this.
  PeakMeter(Rig& rig, int rank)
      : account_(dynamic_cast<const Account&>(rig.memory(rank))),
        trims_(dynamic_cast<Trims*>(&rig.allocator("", rank))) {}

  /// To be called when memory was allocated, before any of it is given back.
  void note() { peak_bytes_ = std::max(peak_bytes_, reserved_bytes()); }
  std::size_t reserved_bytes() const { return trims_ ? trims_->reserved_bytes() : account_.live_bytes(); }
  std::size_t peak_bytes() const { return peak_bytes_; }
  void restart_peak() { peak_bytes_ = reserved_bytes(); }

  /// Gives cached memory back to the driver: empty_cache. Throws DeviceError.
  void release_cache() {
    ++cache_releases_;
    if (trims_) trims_->trim();
  }
  std::size_t cache_releases() const { return cache_releases_; }

 private:
  const Account& account_;
  Trims* const trims_;
  std::size_t peak_bytes_ = 0, cache_releases_ = 0;
};

}  // namespace drought
