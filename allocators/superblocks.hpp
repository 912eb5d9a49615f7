// What RMM's arenas are made of: superblocks of at least 1 MiB, each with its free blocks by address, and
// the set of those that one arena owns. Searches are address-ordered first fit, as RMM does them, but by a
// tournament tree: superblocks are at least 1 MiB long, so no two begin in the same MiB of the slab, and
// the leftmost leaf that is large enough names the first one that fits.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "harness/memory/bytes.hpp"

namespace drought {

class Superblock {
 public:
  static constexpr std::size_t kLeastBytes = 1_MiB;

  Superblock(std::uintptr_t begin, std::size_t bytes) : begin_(begin), bytes_(bytes) { insert(begin, bytes); }

  std::uintptr_t begin() const { return begin_; }
  std::uintptr_t end() const { return begin_ + bytes_; }
  std::size_t bytes() const { return bytes_; }
  bool is_empty() const { return !sizes_.empty() && *sizes_.rbegin() == bytes_; }
  std::size_t largest_bytes() const { return sizes_.empty() ? 0 : *sizes_.rbegin(); }
  const std::map<std::uintptr_t, std::size_t>& free_blocks() const { return free_; }

  /// The low end of the first free block of at least `bytes`; largest_bytes() is as much.
  std::uintptr_t take(std::size_t bytes) {
    const auto found =
        std::find_if(free_.begin(), free_.end(), [&](const auto& block) { return block.second >= bytes; });
    const auto [begin, had] = *found;
    erase(found);
    if (had > bytes) insert(begin + bytes, had - bytes);
    return begin;
  }

  /// A block comes back and joins its free neighbours.
  void give(std::uintptr_t begin, std::size_t bytes) {
    const auto next = free_.lower_bound(begin);
    if (next != free_.end() && next->first == begin + bytes) {
      bytes += next->second;
      erase(next);
    }
    const auto after = free_.lower_bound(begin);
    if (after != free_.begin() && std::prev(after)->first + std::prev(after)->second == begin) {
      const auto before = std::prev(after);
      begin = before->first;
      bytes += before->second;
      erase(before);
    }
    insert(begin, bytes);
  }

 private:
  void insert(std::uintptr_t begin, std::size_t bytes) {
    free_.emplace(begin, bytes);
    sizes_.insert(bytes);
  }
  void erase(std::map<std::uintptr_t, std::size_t>::iterator block) {
    sizes_.erase(sizes_.find(block->second));
    free_.erase(block);
  }

  const std::uintptr_t begin_;
  const std::size_t bytes_;
  std::map<std::uintptr_t, std::size_t> free_;
  std::multiset<std::size_t> sizes_;
};

/// The superblocks that one arena owns.
class Superblocks {
 public:
  /// Of a slab of `slab_bytes` at `slab`.
  Superblocks(std::uintptr_t slab, std::size_t slab_bytes)
      : slab_(slab),
        leaves_(std::bit_ceil(slab_bytes / Superblock::kLeastBytes + 1)),
        largest_(leaves_ * 2) {}

  /// The first that has a free block of at least `bytes`, or null. It stays here.
  Superblock* first_fit(std::size_t bytes) const {
    if (largest_[1] < bytes) return nullptr;
    std::size_t at = 1;
    while (at < leaves_) at = largest_[2 * at] >= bytes ? 2 * at : 2 * at + 1;
    // The last that begins before the MiB after this one.
    const auto after = owned_.lower_bound(slab_ + (at - leaves_ + 1) * Superblock::kLeastBytes);
    return std::prev(after)->second.get();
  }

  /// The one that holds [begin, begin + bytes), or null.
  Superblock* containing(std::uintptr_t begin, std::size_t bytes) const {
    const auto after = owned_.upper_bound(begin);
    if (after == owned_.begin()) return nullptr;
    Superblock* const found = std::prev(after)->second.get();
    return begin + bytes <= found->end() ? found : nullptr;
  }

  void insert(std::unique_ptr<Superblock> superblock) {
    set_largest(*superblock, superblock->largest_bytes());
    owned_.emplace(superblock->begin(), std::move(superblock));
  }
  std::unique_ptr<Superblock> extract(const Superblock* superblock) {
    set_largest(*superblock, 0);
    return std::move(owned_.extract(superblock->begin()).mapped());
  }

  /// As Superblock::take and give, for one that is owned here.
  std::uintptr_t take(Superblock* from, std::size_t bytes) {
    const std::uintptr_t begin = from->take(bytes);
    set_largest(*from, from->largest_bytes());
    return begin;
  }
  void give(Superblock* to, std::uintptr_t begin, std::size_t bytes) {
    to->give(begin, bytes);
    set_largest(*to, to->largest_bytes());
  }

  const std::map<std::uintptr_t, std::unique_ptr<Superblock>>& owned() const { return owned_; }

 private:
  void set_largest(const Superblock& superblock, std::size_t bytes) {
    std::size_t at = leaves_ + (superblock.begin() - slab_) / Superblock::kLeastBytes;
    largest_[at] = bytes;
    while (at /= 2) largest_[at] = std::max(largest_[2 * at], largest_[2 * at + 1]);
  }

  const std::uintptr_t slab_;
  const std::size_t leaves_;
  std::vector<std::size_t> largest_;  ///< A heap of maxima: the leaf of each MiB, over them their parents.
  std::map<std::uintptr_t, std::unique_ptr<Superblock>> owned_;
};

}  // namespace drought
