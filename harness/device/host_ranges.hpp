// A set of disjoint address ranges in address order, which also answers "the lowest range of at least
// this many bytes". The simulated device keeps its holes, its blocks and its mappings in such sets,
// because first fit by lowest address over many holes must not become a walk over all of them.
//
// A treap in one array: each node knows the longest range below it. Every call is O(log n) and the
// shape depends on the addresses alone, never on chance.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace drought {

struct AddressRange {
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
  std::uint64_t value = 0;  ///< The owner's own.
  std::uintptr_t end() const { return begin + bytes; }
};

class RangeSet {
 public:
  /// `range` overlaps none in the set and has bytes.
  void insert(const AddressRange& range);
  /// A range begins there.
  void erase(std::uintptr_t begin);
  /// A range begins there.
  void set_value(std::uintptr_t begin, std::uint64_t value);

  std::optional<AddressRange> at(std::uintptr_t begin) const;
  /// The one that holds the byte at `address`.
  std::optional<AddressRange> containing(std::uintptr_t address) const;
  /// The one with the greatest begin <= `address`.
  std::optional<AddressRange> at_or_before(std::uintptr_t address) const;
  /// The one with the least begin >= `address`.
  std::optional<AddressRange> at_or_after(std::uintptr_t address) const;
  /// The lowest with at least `bytes`.
  std::optional<AddressRange> first_fit(std::size_t bytes) const;

  std::size_t longest() const { return longest_of(root_); }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  using Index = std::uint32_t;
  static constexpr Index none = 0xffff'ffff;
  struct Node {
    AddressRange range;
    std::size_t longest;
    std::uint64_t priority;
    Index left, right;
  };

  std::size_t longest_of(Index node) const { return node == none ? 0 : nodes_[node].longest; }
  void refresh(Index node);
  Index make(const AddressRange& range);
  Index merge(Index left, Index right);
  void split(Index node, std::uintptr_t at, Index& left, Index& right);
  Index inserted(Index node, Index added);
  Index erased(Index node, std::uintptr_t begin);

  std::vector<Node> nodes_;
  std::vector<Index> spare_;
  Index root_ = none;
  std::size_t size_ = 0;
};

/// Holes that are taken from the front and joined again with their neighbours, but never across a
/// multiple of `boundary_bytes` (0: no boundary).
class Holes {
 public:
  explicit Holes(std::size_t boundary_bytes = 0) : boundary_bytes_(boundary_bytes) {}

  /// The lowest address with room, or nothing.
  std::optional<std::uintptr_t> take(std::size_t bytes);
  /// A range that lies in one hole.
  void take_at(std::uintptr_t begin, std::size_t bytes);
  /// Whether one hole holds the range.
  bool holds(std::uintptr_t begin, std::size_t bytes) const;
  /// The hole that `begin`, `bytes` became part of.
  AddressRange give(std::uintptr_t begin, std::size_t bytes);
  /// A whole hole leaves the set.
  void remove(std::uintptr_t begin) { holes_.erase(begin); }
  std::size_t longest() const { return holes_.longest(); }

 private:
  bool may_join(std::uintptr_t at) const { return boundary_bytes_ == 0 || at % boundary_bytes_ != 0; }

  std::size_t boundary_bytes_;
  RangeSet holes_;
};

}  // namespace drought
