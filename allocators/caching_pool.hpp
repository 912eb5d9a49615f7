// The pools of the caching allocator: each holds the free blocks of its segments, stream by stream, and
// the addresses that an expandable segment has reserved and not mapped. There is a small one and a large
// one, and as many again for each private pool.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "allocators/caching_blocks.hpp"
#include "allocators/caching_conf.hpp"
#include "harness/memory/interfaces.hpp"

namespace drought {

struct PrivatePool;

/// One pool. A stream's set of free blocks lives as long as the pool.
class CachedPool {
 public:
  /// `owner`: null for the pools that everybody shares.
  CachedPool(bool is_small, const CachingConf& conf, PrivatePool* owner = nullptr, bool may_split = true)
      : is_small_(is_small), may_split_(may_split), owner_(owner) {
    follow(conf);
  }

  void follow(const CachingConf& conf) {
    const bool is_fine = is_small_ || conf.expandable_segments;
    const std::size_t least = is_fine ? CachingConf::kMinBlockSize : CachingConf::kSmallSize + 1;
    split_remainder_min = may_split_ ? least : CachingConf::kUnlimited;
  }

  bool is_small() const { return is_small_; }
  PrivatePool* owner() const { return owner_; }

  FreeBlocks& of(std::uint64_t stream) {
    if (latest_ && latest_->stream() == stream) return *latest_;
    auto at =
        std::lower_bound(streams_.begin(), streams_.end(), stream,
                         [](const auto& blocks, std::uint64_t wanted) { return blocks->stream() < wanted; });
    if (at == streams_.end() || (*at)->stream() != stream)
      at = streams_.insert(at, std::make_unique<FreeBlocks>(stream, this));
    return *(latest_ = at->get());
  }

  /// visit(CachedBlock*) in the order of the whole set: stream, bytes, rank, address.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const auto& blocks : streams_) blocks->for_each(visit);
  }

  /// A block is split when at least this much remains.
  std::size_t split_remainder_min = 0;
  /// Unmapped blocks by stream and address.
  std::map<std::pair<std::uint64_t, std::uintptr_t>, CachedBlock*> unmapped;
  /// How often the pool was searched, as far as ages need it.
  std::uint64_t searches = 0;
  /// Segments borrowed and not given back, expandable ones included.
  std::size_t segments = 0;

 private:
  const bool is_small_, may_split_;
  PrivatePool* const owner_;
  FreeBlocks* latest_ = nullptr;
  std::vector<std::unique_ptr<FreeBlocks>> streams_;  // By rising handle.
};

/// A pool of its own for a graph or for a part of a program.
struct PrivatePool {
  PrivatePool(PoolId pool, Pools::Kind what, const CachingConf& conf)
      : id(pool),
        kind(what),
        small(true, conf, this, !what.no_split),
        large(false, conf, this, !what.no_split) {}

  const PoolId id;
  Pools::Kind kind;
  CachedPool small, large;
  std::size_t holders = 0;  ///< Graphs and scopes that use it; without any it can be emptied.
};

}  // namespace drought
