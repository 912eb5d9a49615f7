// The caching allocator over expandable segments: where a request finds room that only has to be mapped,
// and which pages go back.
#include <algorithm>

#include "allocators/caching.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {

// Blocks in a row that are free or unmapped and have room together, the first that is unmapped at the
// lowest address; else a new segment, which is one unmapped block. Null when there are no addresses.
CachedBlock* Caching::growable(const Wanted& wanted) {
  const auto is_usable = [](const CachedBlock* block) {
    return block && (block->is_free() || block->is_unmapped());
  };
  const std::uint64_t stream = wanted.request.stream.id;
  auto& unmapped = wanted.pool.unmapped;
  for (auto at = unmapped.lower_bound({stream, 0}); at != unmapped.end() && at->first.first == stream; ++at) {
    CachedBlock* const first = is_usable(at->second->previous) ? at->second->previous : at->second;
    std::size_t bytes = 0;
    for (const CachedBlock* next = first; bytes < wanted.bytes && is_usable(next); next = next->next)
      bytes += next->bytes;
    if (bytes >= wanted.bytes) return first;
  }
  MemInfo info;
  const Status status = device_.mem_info(info);
  if (status != Status::success) throw DeviceError(status, "cudaMemGetInfo");
  const std::size_t page_bytes =
      wanted.pool.is_small() ? CachingConf::kSmallBuffer : conf_.large_segment_bytes;
  const std::size_t bytes = info.total_bytes + info.total_bytes / 8;
  if (bytes < wanted.bytes) return nullptr;
  nodes_.reserve_two();
  auto segment =
      ExpandableSegment::reserve(device_, page_bytes, bytes, ties_by_age_ ? segments_borrowed_ + 1 : 0);
  if (!segment) return nullptr;
  CachedBlock* const block = nodes_.take();
  segments_borrowed_ += ties_by_age_;
  block->address = segment->whole().begin;
  block->bytes = segment->whole().bytes;
  block->rank = segment->rank();
  block->home = &wanted.pool.of(stream);
  block->segment = segment.get();
  block->state = CachedBlock::State::unmapped;
  unmapped[{stream, block->address}] = block;
  ++wanted.pool.segments;
  expandable_.emplace(segment.get(), std::move(segment));
  return block;
}

// A free block of at least the bytes wanted, taken out of its set. What was mapped before a refusal
// stays mapped and free, as PyTorch leaves it.
CachedBlock* Caching::grow(const Wanted& wanted) {
  CachedBlock* block = growable(wanted);
  if (!block) return nullptr;
  if (block->is_unmapped()) block = map(block, std::min(block->bytes, wanted.bytes));
  while (block && block->bytes < wanted.bytes)
    block = map(block->next, std::min(wanted.bytes - block->bytes, block->next->bytes));
  if (block) block->home->erase(block);
  return block;
}

// The free block that the mapped part of an unmapped one belongs to, or null when it was refused.
CachedBlock* Caching::map(CachedBlock* block, std::size_t bytes) {
  nodes_.reserve_two();
  const auto mapped = block->segment->map({block->address, bytes});
  if (mapped.bytes == 0) return nullptr;
  auto& unmapped = block->home->pool().unmapped;
  const std::uint64_t stream = block->home->stream();
  unmapped.erase({stream, block->address});
  if (mapped.bytes < block->bytes) {
    CachedBlock* const rest = block;
    block = cut_front(rest, mapped.bytes);
    unmapped[{stream, rest->address}] = rest;
  }
  block->state = CachedBlock::State::free;
  reserved_bytes_ += mapped.bytes;
  absorb_neighbours(block);
  put(block);
  decide(Decision::Kind::segment_map, mapped.begin, mapped.bytes, stream);
  return block;
}

// Gives back the whole pages of a free block; the pieces around them stay free. A segment without any
// page goes too.
std::size_t Caching::unmap(CachedBlock* block) {
  ExpandableSegment& segment = *block->segment;
  const std::uint64_t stream = block->home->stream();
  nodes_.reserve_two();
  const auto gone = segment.unmap({block->address, block->bytes}, {stream}, fell_back_);
  if (gone.bytes == 0) return 0;
  block->home->erase(block);
  if (gone.begin > block->address) put(cut_front(block, gone.begin - block->address));
  if (gone.bytes < block->bytes) {
    CachedBlock* const rest = block;
    block = cut_front(rest, gone.bytes);
    put(rest);
  }
  block->state = CachedBlock::State::unmapped;
  absorb_neighbours(block);
  CachedPool& pool = block->home->pool();
  reserved_bytes_ -= gone.bytes;
  decide(Decision::Kind::segment_unmap, gone.begin, gone.bytes, stream);
  if (!block->is_whole_segment()) {
    pool.unmapped[{stream, block->address}] = block;
    return gone.bytes;
  }
  --pool.segments;
  expandable_.erase(&segment);
  nodes_.put_back(block);
  return gone.bytes;
}

}  // namespace drought
