// What the caching allocator's bookkeeping is made of: blocks that tile a segment, and the ordered set
// of the free ones of a stream. Built so that a cached allocate and free touch a handful of cache lines.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace drought {

class CachedPool;
class ExpandableSegment;
class FreeBlocks;

/// A part of a segment. Blocks of one segment are linked in address order.
struct CachedBlock {
  std::uintptr_t address = 0;
  std::size_t bytes = 0;
  std::uint64_t rank = 0;  ///< Breaks ties between equal sizes, before the address does.
  CachedBlock *left = nullptr, *right = nullptr;  ///< In the set of free blocks.
  CachedBlock *previous = nullptr, *next = nullptr;
  FreeBlocks* home = nullptr;            ///< Where it goes when it is free.
  ExpandableSegment* segment = nullptr;  ///< Null for a segment of a fixed size.
  std::uint64_t searches_before = 0;     ///< Of its pool, when it became free: its age counts from there.
  std::uint32_t events_pending = 0;      ///< Uses on other streams that have not completed.
  /// waiting: no longer lent, but not all uses have completed. unmapped: addresses without memory.
  enum class State : std::uint8_t { free, lent, waiting, unmapped } state = State::free;
  bool has_stream_uses = false;

  bool is_whole_segment() const { return !previous && !next; }
  bool is_free() const { return state == State::free; }
  bool is_unmapped() const { return state == State::unmapped; }

  /// Takes over the bytes and the place in the segment of a neighbour that is in no set.
  void absorb(const CachedBlock* neighbour) {
    if (neighbour == previous) {
      address = neighbour->address;
      previous = neighbour->previous;
      if (previous) previous->next = this;
    } else {
      next = neighbour->next;
      if (next) next->previous = this;
    }
    bytes += neighbour->bytes;
  }
};

/// The free blocks of one stream in one pool, ordered by (bytes, rank, address).
///
/// Sizes fall into bins, 32 to a power of two, each the root of a treap whose priorities are hashes of
/// the addresses, so that a set has one shape whatever the order of insertion. Most bins hold a block
/// or two; bit maps find the next bin that is not empty.
class FreeBlocks {
 public:
  /// `pool`: whose these are, where an allocator has several.
  explicit FreeBlocks(std::uint64_t stream, CachedPool* pool = nullptr) : pool_(pool), stream_(stream) {}

  CachedPool& pool() const { return *pool_; }
  std::uint64_t stream() const { return stream_; }

  void insert(CachedBlock* block) {
    const std::size_t bin = bin_of(block->bytes);
    CachedBlock** link = &roots_[bin];
    const std::uint32_t priority = priority_of(block);
    while (*link && priority_of(*link) >= priority)
      link = less(block, *link) ? &(*link)->left : &(*link)->right;
    split(*link, block, &block->left, &block->right);
    *link = block;
    words_[bin / 64] |= std::uint64_t{1} << bin % 64;
    summary_ |= std::uint32_t{1} << bin / 64;
  }

  void erase(CachedBlock* block) {
    const std::size_t bin = bin_of(block->bytes);
    CachedBlock** link = &roots_[bin];
    while (*link != block) link = less(block, *link) ? &(*link)->left : &(*link)->right;
    *link = merge(block->left, block->right);
    if (roots_[bin]) return;
    words_[bin / 64] &= ~(std::uint64_t{1} << bin % 64);
    if (words_[bin / 64] == 0) summary_ &= ~(std::uint32_t{1} << bin / 64);
  }

  /// The first block of at least `bytes` in the order, or null. It stays in the set.
  CachedBlock* at_least(std::size_t bytes) const {
    const std::size_t bin = bin_of(bytes);
    CachedBlock* found = nullptr;
    for (CachedBlock* at = roots_[bin]; at;)
      if (at->bytes >= bytes)
        found = std::exchange(at, at->left);
      else
        at = at->right;
    return found ? found : first_from(bin + 1);
  }

  /// The block that follows `block` in the order, or null.
  CachedBlock* after(const CachedBlock* block) const {
    const std::size_t bin = bin_of(block->bytes);
    CachedBlock* found = nullptr;
    for (CachedBlock* at = roots_[bin]; at;)
      if (less(block, at))
        found = std::exchange(at, at->left);
      else
        at = at->right;
    return found ? found : first_from(bin + 1);
  }

  /// visit(CachedBlock*) for each in order. The set must not change meanwhile.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t bin = next_bin(0); bin != kBins; bin = next_bin(bin + 1)) walk(roots_[bin], visit);
  }

 private:
  // Sizes are multiples of 512 below 2^60, so in units below 2^52: (52 - 4) * 32 bins.
  static constexpr std::size_t kBins = 1536;

  static std::size_t bin_of(std::size_t bytes) {
    const std::size_t units = bytes >> 9;
    if (units < 32) return units;
    const auto exponent = static_cast<std::size_t>(std::bit_width(units)) - 1;
    return (exponent - 4) * 32 + (units >> (exponent - 5) & 31);
  }

  CachedBlock* first_from(std::size_t bin) const {
    bin = next_bin(bin);
    if (bin == kBins) return nullptr;
    CachedBlock* found = roots_[bin];
    while (found->left) found = found->left;
    return found;
  }

  std::size_t next_bin(std::size_t bin) const {
    if (bin >= kBins) return kBins;
    std::size_t word = bin / 64;
    const std::uint64_t rest = words_[word] >> bin % 64;
    if (rest) return bin + static_cast<std::size_t>(std::countr_zero(rest));
    const std::uint32_t later = summary_ & ~((std::uint32_t{2} << word) - 1);
    if (!later) return kBins;
    word = static_cast<std::size_t>(std::countr_zero(later));
    return word * 64 + static_cast<std::size_t>(std::countr_zero(words_[word]));
  }

  static std::uint32_t priority_of(const CachedBlock* block) {
    return static_cast<std::uint32_t>(block->address * 0x9E3779B97F4A7C15u >> 32);
  }

  static bool less(const CachedBlock* a, const CachedBlock* b) {
    if (a->bytes != b->bytes) return a->bytes < b->bytes;
    if (a->rank != b->rank) return a->rank < b->rank;
    return a->address < b->address;
  }

  static void split(CachedBlock* at, const CachedBlock* key, CachedBlock** low, CachedBlock** high) {
    while (at) {
      if (less(at, key)) {
        *low = at;
        low = &at->right;
        at = at->right;
      } else {
        *high = at;
        high = &at->left;
        at = at->left;
      }
    }
    *low = *high = nullptr;
  }

  static CachedBlock* merge(CachedBlock* low, CachedBlock* high) {
    CachedBlock* root = nullptr;
    CachedBlock** link = &root;
    while (low && high) {
      if (priority_of(low) > priority_of(high)) {
        *link = low;
        link = &low->right;
        low = low->right;
      } else {
        *link = high;
        link = &high->left;
        high = high->left;
      }
    }
    *link = low ? low : high;
    return root;
  }

  template <typename Visit>
  static void walk(CachedBlock* at, Visit&& visit) {
    if (!at) return;
    walk(at->left, visit);
    visit(at);
    walk(at->right, visit);
  }

  CachedPool* const pool_;
  const std::uint64_t stream_;
  std::uint32_t summary_ = 0;
  std::array<std::uint64_t, kBins / 64> words_{};
  std::array<CachedBlock*, kBins> roots_{};
};

/// Block nodes, recycled.
class CachedBlockNodes {
 public:
  /// Makes sure that the next two take() need no memory.
  void reserve_two() {
    if (!free_ || !free_->next) add_slab();
  }

  CachedBlock* take() {
    CachedBlock* block = free_;
    free_ = block->next;
    *block = CachedBlock{};
    return block;
  }

  void put_back(CachedBlock* block) {
    block->next = free_;
    free_ = block;
  }

 private:
  static constexpr std::size_t kSlabNodes = 256;

  void add_slab() {
    slabs_.push_back(std::make_unique<CachedBlock[]>(kSlabNodes));
    for (std::size_t i = 0; i < kSlabNodes; ++i) put_back(&slabs_.back()[kSlabNodes - 1 - i]);
  }

  std::vector<std::unique_ptr<CachedBlock[]>> slabs_;
  CachedBlock* free_ = nullptr;
};

}  // namespace drought
