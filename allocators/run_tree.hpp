// Which of a row of places are free, with the lowest run of n free ones found in O(log places): a binary
// tree of how long the runs at each node's two ends, and anywhere in it, are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace drought {

class RunTree {
 public:
  /// All places are free. At most 2^31.
  explicit RunTree(std::size_t places) : leaves_(std::bit_ceil(places)), nodes_(leaves_ * 2) {
    set(0, places, true);
  }

  /// O(count + log places).
  void set(std::size_t first, std::size_t count, bool free) {
    std::size_t begin = leaves_ + first, end = begin + count, span = 1;
    const std::uint32_t length = free ? 1 : 0;
    std::fill(nodes_.begin() + static_cast<std::ptrdiff_t>(begin),
              nodes_.begin() + static_cast<std::ptrdiff_t>(end), Node{length, length, length});
    while (begin > 1) {
      begin /= 2, end = (end + 1) / 2, span *= 2;
      for (std::size_t at = begin; at < end; ++at) join(at, static_cast<std::uint32_t>(span / 2));
    }
  }

  std::size_t longest() const { return nodes_[1].best; }

  /// The first place of the lowest run of at least `count` (not 0).
  std::optional<std::size_t> lowest(std::size_t count) const {
    if (longest() < count) return {};
    std::size_t at = 1, first = 0, span = leaves_;
    while (span > 1) {
      const Node &low = nodes_[2 * at], &high = nodes_[2 * at + 1];
      span /= 2;
      if (low.best >= count) {
        at = 2 * at;
      } else if (low.last + high.first >= count) {
        return first + span - low.last;
      } else {
        at = 2 * at + 1;
        first += span;
      }
    }
    return first;
  }

 private:
  struct Node {
    std::uint32_t first = 0, last = 0, best = 0;  ///< Free places at its low end, at its high end, in a row.
  };

  void join(std::size_t at, std::uint32_t half) {
    const Node &low = nodes_[2 * at], &high = nodes_[2 * at + 1];
    nodes_[at] = {low.first == half ? half + high.first : low.first,
                  high.last == half ? half + low.last : high.last,
                  std::max({low.best, high.best, low.last + high.first})};
  }

  const std::size_t leaves_;
  std::vector<Node> nodes_;
};

}  // namespace drought
