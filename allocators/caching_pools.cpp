// The caching allocator's private pools: which one serves a request, and when one is emptied.
#include <algorithm>
#include <stdexcept>

#include "allocators/caching.hpp"

namespace drought {

CachedPool& Caching::pool_for(std::size_t bytes, Stream stream) {
  const bool is_small = bytes <= CachingConf::kSmallSize;
  if (!scopes_.empty()) [[unlikely]]
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      if (scope->includes(stream)) return is_small ? scope->pool->small : scope->pool->large;
  return is_small ? small_ : large_;
}

PrivatePool& Caching::pool_named(PoolId id) {
  const auto found = pools_.find(id);
  if (found == pools_.end())
    throw std::invalid_argument("caching: no pool {" + std::to_string(id.first) + ", " +
                                std::to_string(id.second) + "}");
  return *found->second;
}

void Caching::create_pool(PoolId id, Kind kind) {
  if (id == PoolId{}) throw std::invalid_argument("caching: {0, 0} is the default pool");
  auto& pool = pools_[id];
  if (!pool) pool = std::make_unique<PrivatePool>(id, kind, conf_);
  ++pool->holders;
  std::erase(idle_pools_, pool.get());
}

void Caching::release_pool(PoolId id) {
  PrivatePool& pool = pool_named(id);
  if (pool.holders == 0) throw std::invalid_argument("caching: a pool that nobody holds is released");
  if (--pool.holders == 0) idle_pools_.push_back(&pool);
}

void Caching::begin_allocate_to_pool(PoolId id, Includes includes, Scope scope) {
  for (const OpenScope& open : scopes_)
    if (open.pool->id == id) throw std::invalid_argument("caching: a pool's scope is open already");
  create_pool(id, {});
  scopes_.push_back({&pool_named(id), std::move(includes), scope});
  captures_ += scope == Scope::capture;
}

void Caching::end_allocate_to_pool(PoolId id) {
  const auto open = std::find_if(scopes_.begin(), scopes_.end(),
                                 [&](const OpenScope& scope) { return scope.pool->id == id; });
  if (open == scopes_.end()) throw std::invalid_argument("caching: no scope of that pool is open");
  captures_ -= open->scope == Scope::capture;
  scopes_.erase(open);
}

// Pools that stand in when the shared ones are refused memory lend what they have free, and borrow nothing.
CachedBlock* Caching::borrow_from_pools(const Wanted& wanted) {
  if (wanted.pool.owner() || conf_.expandable_segments) return nullptr;
  for (const auto& [id, pool] : pools_) {
    if (!pool->kind.use_on_oom) continue;
    CachedPool& from = wanted.pool.is_small() ? pool->small : pool->large;
    if (CachedBlock* block = take_free(from, wanted.request.stream.id, wanted.bytes)) return block;
  }
  return nullptr;
}

// PyTorch empties them in the order of a hash map, which no other program can repeat; here it is the
// order in which they were let go.
std::size_t Caching::release_idle_pools() {
  std::size_t released_bytes = 0;
  for (PrivatePool* pool : idle_pools_) {
    released_bytes += release_from(pool->small);
    released_bytes += release_from(pool->large);
  }
  std::erase_if(idle_pools_, [&](PrivatePool* pool) {
    if (pool->small.segments + pool->large.segments != 0) return false;
    pools_.erase(pool->id);
    return true;
  });
  return released_bytes;
}

}  // namespace drought
