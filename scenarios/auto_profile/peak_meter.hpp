// Passes every request of one rank on to the resource under test and knows the most that was reserved
// since it was last told to start again. A process-lifetime peak also counts what loading the weights
// took for a moment, and the cache then comes out too small.
//
// Reserved is what the allocator has borrowed, idle memory included, where the topmost one of the chain
// can say so (Trims); else what is lent.
#pragma once

#include <algorithm>
#include <cstddef>

#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/rig.hpp"

namespace drought {

class PeakMeter final : public Resource {
 public:
  /// `rig` outlives this, and this every buffer taken from it.
  PeakMeter(Rig& rig, int rank)
      : memory_(rig.memory(rank)),
        account_(dynamic_cast<Account&>(memory_)),
        trims_(dynamic_cast<Trims*>(&rig.allocator("", rank))) {}

  void* allocate(Request request) override {
    void* const block = memory_.allocate(request);
    peak_bytes_ = std::max(peak_bytes_, reserved_bytes());
    return block;
  }
  void deallocate(void* block, Request request) noexcept override { memory_.deallocate(block, request); }
  void releasing(const std::shared_ptr<Block>& block) noexcept override { memory_.releasing(block); }
  void lease_changed(void* data, std::string_view holder, bool begins) noexcept override {
    memory_.lease_changed(data, holder, begins);
  }

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
  Resource& memory_;
  Account& account_;
  Trims* const trims_;
  std::size_t peak_bytes_ = 0, cache_releases_ = 0;
};

}  // namespace drought
