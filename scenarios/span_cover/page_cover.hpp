// The guard of a partially mapped file: which offsets a process may touch, decided on the union of its
// spans rounded to pages. Pages, because registration and prefetch know nothing smaller; the union, because
// the interval from the first span to the last is the whole file for whoever has the first layer and a
// head that is stored last.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scenarios/span_cover/model_layout.hpp"

namespace drought {

/// Why a table of spans cannot be installed on a file of this size; empty when it can. Spans may overlap,
/// repeat and come in any order.
std::string why_rejected(const Spans& spans, std::uint64_t file_bytes);

class PageCover {
 public:
  /// How offset and size are held against the spans. Only `pages` is right.
  enum class Rule : std::uint8_t { pages, interval, wrapping_sum };

  PageCover() = default;
  /// `spans` passed why_rejected. `page_bytes` is a power of two.
  PageCover(Spans spans, std::uint64_t file_bytes, std::size_t page_bytes, Rule rule = Rule::pages);

  /// Whether [offset, offset + bytes) lies in one region. No bytes at all do from a region's first byte up
  /// to and including its end. Never wraps. O(log regions).
  bool admits(std::uint64_t offset, std::uint64_t bytes) const;

  /// Page-rounded and merged: disjoint, no two touch, in order. The last may end inside the file's last page.
  const Spans& regions() const { return regions_; }
  /// The region that `offset` lies in or ends, or null.
  const SpanMap::Span* region_at(std::uint64_t offset) const;
  std::uint64_t bytes() const { return sum_of(regions_); }
  /// From the first region to the end of the last.
  std::uint64_t interval_bytes() const;

 private:
  Spans regions_;
  Rule rule_ = Rule::pages;
};

}  // namespace drought
