// The caching allocator put into the state of a recorded run, whose beginning nobody recorded.
#include <algorithm>
#include <stdexcept>

#include "allocators/caching.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constexpr std::size_t kBytesEnd = std::size_t{1} << 60;

}  // namespace

// Lent blocks have their places; what lies between them is free, and free neighbours are one. A block
// that was lent whole because too little remained is as long as the gap behind it, if that is too small
// to have been a block of its own.
void Caching::resume(std::span<const Segment> segments) {
  std::uintptr_t end_before = 0;
  for (const Segment& segment : segments) {
    constexpr std::size_t kGranularity = CachingConf::kMinBlockSize;
    const bool is_whole = segment.bytes != 0 && segment.bytes % kGranularity == 0 &&
                          segment.address % kGranularity == 0 && segment.bytes < kBytesEnd;
    if (!is_whole || segment.address < end_before || segment.address > ~segment.bytes)
      throw std::invalid_argument("a segment of " + std::to_string(segment.bytes) +
                                  " B that no allocator could have there");
    end_before = segment.address + segment.bytes;
    if (segment.pool != PoolId{} && !pools_.contains(segment.pool)) create_pool(segment.pool, {});
    PrivatePool* const owner = segment.pool == PoolId{} ? nullptr : &pool_named(segment.pool);
    CachedPool& pool =
        owner ? (segment.is_small ? owner->small : owner->large) : (segment.is_small ? small_ : large_);
    nodes_.reserve_two();
    CachedBlock* rest = nodes_.take();
    rest->address = segment.address;
    rest->bytes = segment.bytes;
    rest->rank = ties_by_age_ ? ++segments_borrowed_ : 0;
    rest->home = &pool.of(segment.stream.id);
    ++pool.segments;
    segments_.insert(segment.address, {.bytes = segment.bytes,
                                       .alignment = CachingConf::kMinBlockSize,
                                       .stream = segment.stream,
                                       .from = {}});
    reserved_bytes_ += segment.bytes;
    for (const Block& lent : segment.lent) {
      if (!rest || lent.address < rest->address) continue;
      nodes_.reserve_two();
      if (lent.address > rest->address) put(cut_front(rest, lent.address - rest->address));
      const std::size_t rounded = conf_.round_size(lent.bytes);
      std::size_t bytes = lent.whole_bytes ? lent.whole_bytes : rounded;
      const std::uintptr_t end = lent.next ? lent.next : segment.address + segment.bytes;
      const std::size_t gap = end - std::min(end, lent.address + rounded);
      if (!lent.whole_bytes && (gap < pool.split_remainder_min || rounded >= split_below_bytes_))
        bytes += gap;
      bytes = std::min(bytes, rest->bytes);
      nodes_.reserve_two();
      CachedBlock* const block = bytes < rest->bytes ? cut_front(rest, bytes) : std::exchange(rest, nullptr);
      block->state = CachedBlock::State::lent;
      active_bytes_ += block->bytes;
      lent_.insert(block->address, block);
    }
    if (rest) put(rest);
  }
}

}  // namespace drought
