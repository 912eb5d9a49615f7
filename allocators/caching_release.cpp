// How the caching allocator gives memory back: what is old, before it borrows; enough large blocks, when
// it is refused; everything, when it is refused again or asked to.
#include "allocators/caching.hpp"

namespace drought {

// Ages count searches of the pool since a block became free. Each round frees every whole segment at
// least as old as their average, even past the amount that is needed.
void Caching::collect_garbage() {
  const auto threshold =
      static_cast<std::size_t>(conf_.garbage_collection_threshold * static_cast<double>(cap_bytes_));
  if (reserved_bytes_ <= threshold) return;
  const std::size_t wanted_bytes = reserved_bytes_ - threshold;
  const auto age = [&](const CachedBlock* block) { return large_.searches - block->searches_before; };
  std::vector<CachedBlock*> whole;
  std::uint64_t total_age = 0;
  large_.for_each([&](CachedBlock* block) {
    if (!block->is_whole_segment()) return;
    whole.push_back(block);
    total_age += age(block);
  });
  std::size_t freed_bytes = 0;
  bool has_freed = true;
  while (freed_bytes < wanted_bytes && has_freed && !whole.empty()) {
    const double average = static_cast<double>(total_age) / static_cast<double>(whole.size());
    has_freed = false;
    std::erase_if(whole, [&](CachedBlock* block) {
      if (block->segment || static_cast<double>(age(block)) < average) return false;
      has_freed = true;
      freed_bytes += block->bytes;
      total_age -= age(block);
      release(block);
      return true;
    });
  }
}

// One block that is large enough, or the largest ones until they are. What was given back stays given
// back when it falls short.
bool Caching::release_available(const Wanted& wanted) {
  if (conf_.max_split_bytes == CachingConf::kUnlimited) return false;
  const std::size_t needed = std::max(wanted.bytes, conf_.max_split_bytes);
  FreeBlocks& free = wanted.pool.of(wanted.request.stream.id);
  CachedBlock* const enough = free.at_least(needed);
  if (enough && !enough->segment) {
    release(enough);
    return true;
  }
  std::vector<CachedBlock*> smaller;
  free.for_each([&](CachedBlock* block) {
    if (block->bytes >= conf_.max_split_bytes && block->bytes < needed) smaller.push_back(block);
  });
  std::size_t released_bytes = 0;
  while (released_bytes < needed && !smaller.empty()) {
    CachedBlock* const block = smaller.back();
    smaller.pop_back();
    if (block->segment) continue;
    released_bytes += block->bytes;
    release(block);
  }
  return released_bytes >= needed;
}

std::size_t Caching::trim() { return release_cached(); }

std::size_t Caching::release_cached() {
  std::size_t released_bytes = 0;
  if (captures_ == 0) {
    wait_for_events();
    released_bytes += release_from(large_);
    released_bytes += release_from(small_);
  }
  return released_bytes + release_idle_pools();
}

std::size_t Caching::release_from(CachedPool& pool) {
  std::vector<CachedBlock*> whole, expandable;
  pool.for_each([&](CachedBlock* block) {
    if (block->segment)
      expandable.push_back(block);
    else if (block->is_whole_segment())
      whole.push_back(block);
  });
  std::size_t released_bytes = 0;
  for (CachedBlock* block : whole) {
    released_bytes += block->bytes;
    release(block);
  }
  for (CachedBlock* block : expandable) released_bytes += unmap(block);
  return released_bytes;
}

void Caching::release(CachedBlock* block) {
  decide(Decision::Kind::segment_free, block->address, block->bytes, block->home->stream());
  block->home->erase(block);
  --block->home->pool().segments;
  Request* const borrowed = segments_.find(block->address);
  const Request request = *borrowed;
  segments_.erase(borrowed);
  reserved_bytes_ -= request.bytes;
  upstream_.deallocate(reinterpret_cast<void*>(block->address), request);
  nodes_.put_back(block);
}

}  // namespace drought
