// Idle memory goes back to its upstream at the worst moment: the allocator is told to empty its cache just
// as it is asked for memory. Imitates empty_cache() from another thread, PyTorch's garbage collection, a
// cache release in the middle of a capture. Survivable by any allocator: only what is idle may go, and not
// before the work on it is done.
#pragma once

#include <tuple>

#include "harness/fault/fault.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/ledger.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class CacheRelease final : public Fault {
 public:
  struct Options {
    static constexpr auto keys() { return std::tuple<>{}; }
  };
  explicit CacheRelease(Options) {}

  bool can_strike(Site site) const override { return site == Site::allocate; }
  void strike(Call& call, Scene& scene) override {
    auto* const cache = dynamic_cast<Trims*>(call.lender);
    const std::size_t bytes = cache ? cache->trim() : 0;
    scene.ledger.record().decisions.push_back("cache_release: " + std::to_string(bytes) + " B");
  }
};

}  // namespace drought
