// Which pool a replayed request goes to. A recorder that does not name pools leaves it to be found from
// where the request's block lies: the snapshot says whose its segment was, if it was there at the end.
#include "harness/trace/device_replay.hpp"

namespace drought {

PoolId DeviceReplay::pool_at(std::uintptr_t address) const {
  auto after = segments_.upper_bound(address);
  if (after == segments_.begin()) return {};
  --after;
  return address - after->first < after->second.first ? after->second.second : PoolId{};
}

void* DeviceReplay::lend(Causes causes, std::size_t i, const Request& request) {
  const TraceEvent& event = events_[i];
  PoolId pool{};
  bool is_known = event.has_pool;
  if (event.has_pool) pool = run_.trace.pools[event.pool];
  bool borrows = false;
  for (std::size_t at = causes.begin; at != causes.end; ++at) {
    if (events_[at].action != TraceAction::segment_alloc && events_[at].action != TraceAction::segment_map)
      continue;
    borrows = true;
    const auto owner = run_.owners.find(at);
    if (is_known || owner == run_.owners.end()) continue;
    pool = owner->second.pool;
    is_known = owner->second.is_known;
  }
  if (!borrows && !event.has_pool) pool = pool_at(event.address);
  if (borrows && !is_known) return lend_from_unnamed(causes, request);
  pooled_ += pool != PoolId{} && !event.has_pool;
  void* const data = lend_from(pool, request);
  note_segments(causes, pool);
  return data;
}

void* DeviceReplay::lend_from(PoolId pool, const Request& request) {
  if (pool == PoolId{}) return allocator_->allocate(request);
  if (held_.insert(pool).second) pools_->create_pool(pool, {});
  pools_->begin_allocate_to_pool(
      pool, [](Stream) { return true; }, Pools::Scope::plain);
  const auto end = [&] {
    pools_->end_allocate_to_pool(pool);
    pools_->release_pool(pool);
  };
  try {
    void* const data = allocator_->allocate(request);
    end();
    return data;
  } catch (...) {
    end();
    throw;
  }
}

// The trace borrows a segment and gives it back before its end. A pool that need not borrow is not the
// one; the default pool, then those found before, then a new one are asked.
void* DeviceReplay::lend_from_unnamed(Causes causes, const Request& request) {
  std::vector<PoolId> candidates(unnamed_.rbegin(), unnamed_.rend());
  candidates.insert(candidates.begin(), PoolId{});
  const PoolId fresh{~std::uint64_t{0}, unnamed_.size()};
  candidates.push_back(fresh);
  void* data = nullptr;
  for (const PoolId pool : candidates) {
    data = lend_from(pool, request);
    if (driver_.expects_more() && pool != fresh) {
      allocator_->deallocate(data, request);
      continue;
    }
    if (pool == fresh) unnamed_.push_back(pool);
    pooled_ += pool != PoolId{};
    note_segments(causes, pool);
    break;
  }
  return data;
}

// A pool's segments go back only when nobody holds it, and the pools one after another.
void DeviceReplay::let_go_of_pools(Causes causes) {
  if (!pools_ || !assumed_.looks_for_pools) return;
  std::set<PoolId> seen;
  for (std::size_t at = causes.begin; at != causes.end; ++at) {
    const TraceEvent& event = events_[at];
    if (event.action != TraceAction::segment_free && event.action != TraceAction::segment_unmap) continue;
    const PoolId pool = event.has_pool ? run_.trace.pools[event.pool] : pool_at(event.address);
    if (pool == PoolId{} || !seen.insert(pool).second) continue;
    if (held_.erase(pool) == 0) pools_->create_pool(pool, {});
    pools_->release_pool(pool);
  }
}

void DeviceReplay::note_segments(Causes causes, PoolId pool) {
  if (!assumed_.looks_for_pools) return;
  for (std::size_t at = causes.begin; at != causes.end; ++at) {
    const TraceEvent& event = events_[at];
    if (event.action == TraceAction::segment_alloc || event.action == TraceAction::segment_map)
      segments_[event.address] = {event.bytes, pool};
    if (event.action == TraceAction::segment_free) segments_.erase(event.address);
  }
}

}  // namespace drought
