#include "harness/device/host_ranges.hpp"

#include <algorithm>

#include "harness/sched/random.hpp"

namespace drought {
void RangeSet::refresh(Index node) {
  Node& n = nodes_[node];
  n.longest = std::max({n.range.bytes, longest_of(n.left), longest_of(n.right)});
}

RangeSet::Index RangeSet::make(const AddressRange& range) {
  const Node node{range, range.bytes, Random(range.begin)(), none, none};
  if (!spare_.empty()) {
    const Index reused = spare_.back();
    spare_.pop_back();
    nodes_[reused] = node;
    return reused;
  }
  nodes_.push_back(node);
  return static_cast<Index>(nodes_.size() - 1);
}

RangeSet::Index RangeSet::merge(Index left, Index right) {
  if (left == none) return right;
  if (right == none) return left;
  if (nodes_[left].priority > nodes_[right].priority) {
    nodes_[left].right = merge(nodes_[left].right, right);
    refresh(left);
    return left;
  }
  nodes_[right].left = merge(left, nodes_[right].left);
  refresh(right);
  return right;
}

void RangeSet::split(Index node, std::uintptr_t at, Index& left, Index& right) {
  if (node == none) {
    left = right = none;
    return;
  }
  if (nodes_[node].range.begin < at) {
    Index rest = none;
    split(nodes_[node].right, at, rest, right);
    nodes_[node].right = rest;
    left = node;
  } else {
    Index rest = none;
    split(nodes_[node].left, at, left, rest);
    nodes_[node].left = rest;
    right = node;
  }
  refresh(node);
}

RangeSet::Index RangeSet::inserted(Index node, Index added) {
  if (node == none) return added;
  const std::uintptr_t begin = nodes_[added].range.begin;
  if (nodes_[added].priority > nodes_[node].priority) {
    Index left = none, right = none;
    split(node, begin, left, right);
    nodes_[added].left = left;
    nodes_[added].right = right;
    refresh(added);
    return added;
  }
  if (begin < nodes_[node].range.begin) {
    nodes_[node].left = inserted(nodes_[node].left, added);
  } else {
    nodes_[node].right = inserted(nodes_[node].right, added);
  }
  refresh(node);
  return node;
}

RangeSet::Index RangeSet::erased(Index node, std::uintptr_t begin) {
  if (node == none) return none;
  Node& n = nodes_[node];
  if (n.range.begin == begin) {
    const Index joined = merge(n.left, n.right);
    spare_.push_back(node);
    --size_;
    return joined;
  }
  if (begin < n.range.begin) {
    n.left = erased(n.left, begin);
  } else {
    n.right = erased(n.right, begin);
  }
  refresh(node);
  return node;
}

void RangeSet::insert(const AddressRange& range) {
  root_ = inserted(root_, make(range));
  ++size_;
}

void RangeSet::erase(std::uintptr_t begin) { root_ = erased(root_, begin); }

void RangeSet::set_value(std::uintptr_t begin, std::uint64_t value) {
  for (Index node = root_; node != none;) {
    Node& n = nodes_[node];
    if (n.range.begin == begin) {
      n.range.value = value;
      return;
    }
    node = begin < n.range.begin ? n.left : n.right;
  }
}

std::optional<AddressRange> RangeSet::at_or_before(std::uintptr_t address) const {
  Index found = none;
  for (Index node = root_; node != none;) {
    const Node& n = nodes_[node];
    if (n.range.begin <= address) {
      found = node;
      node = n.right;
    } else {
      node = n.left;
    }
  }
  if (found == none) return {};
  return nodes_[found].range;
}

std::optional<AddressRange> RangeSet::at_or_after(std::uintptr_t address) const {
  Index found = none;
  for (Index node = root_; node != none;) {
    const Node& n = nodes_[node];
    if (n.range.begin >= address) {
      found = node;
      node = n.left;
    } else {
      node = n.right;
    }
  }
  if (found == none) return {};
  return nodes_[found].range;
}

std::optional<AddressRange> RangeSet::at(std::uintptr_t begin) const {
  const auto found = at_or_before(begin);
  if (found && found->begin != begin) return {};
  return found;
}

std::optional<AddressRange> RangeSet::containing(std::uintptr_t address) const {
  const auto found = at_or_before(address);
  if (found && address - found->begin >= found->bytes) return {};
  return found;
}

std::optional<AddressRange> RangeSet::first_fit(std::size_t bytes) const {
  if (bytes == 0 || longest() < bytes) return {};
  for (Index node = root_;;) {
    const Node& n = nodes_[node];
    if (longest_of(n.left) >= bytes) {
      node = n.left;
    } else if (n.range.bytes >= bytes) {
      return n.range;
    } else {
      node = n.right;
    }
  }
}

std::optional<std::uintptr_t> Holes::take(std::size_t bytes) {
  const auto hole = holes_.first_fit(bytes);
  if (!hole) return {};
  holes_.erase(hole->begin);
  if (hole->bytes > bytes) holes_.insert({hole->begin + bytes, hole->bytes - bytes});
  return hole->begin;
}

void Holes::take_at(std::uintptr_t begin, std::size_t bytes) {
  const AddressRange hole = *holes_.containing(begin);
  holes_.erase(hole.begin);
  if (begin > hole.begin) holes_.insert({hole.begin, begin - hole.begin});
  if (hole.end() > begin + bytes) holes_.insert({begin + bytes, hole.end() - begin - bytes});
}

bool Holes::holds(std::uintptr_t begin, std::size_t bytes) const {
  const auto hole = holes_.containing(begin);
  return hole && bytes <= hole->end() - begin;
}

AddressRange Holes::give(std::uintptr_t begin, std::size_t bytes) {
  AddressRange joined{begin, bytes};
  const auto before = begin > 0 ? holes_.at_or_before(begin - 1) : std::nullopt;
  if (before && before->end() == begin && may_join(begin)) {
    holes_.erase(before->begin);
    joined = {before->begin, before->bytes + bytes};
  }
  const auto after = holes_.at(begin + bytes);
  if (after && may_join(after->begin)) {
    holes_.erase(after->begin);
    joined.bytes += after->bytes;
  }
  holes_.insert(joined);
  return joined;
}

}  // namespace drought
