// A private pool for as long as a scope lives, as PyTorch's use_mem_pool and its graph captures take one.
#pragma once

#include "harness/memory/interfaces.hpp"

namespace drought {

/// Directs requests to the pool `id` while this lives. Null pools: nowhere.
class PoolScope {
 public:
  PoolScope(Pools* pools, PoolId id) : pools_(pools), id_(id) {
    if (!pools_) return;
    pools_->begin_allocate_to_pool(
        id_, [](Stream) { return true; }, Pools::Scope::plain);
  }
  ~PoolScope() {
    if (!pools_) return;
    pools_->end_allocate_to_pool(id_);
    pools_->release_pool(id_);
  }
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  Pools* const pools_;
  const PoolId id_;
};

}  // namespace drought
