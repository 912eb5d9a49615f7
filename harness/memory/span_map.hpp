// Which parts of a file's mapping kernels may read: the subject of span cover.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace drought {

/// A map of a file that kernels may read only in part: span cover's subject.
struct SpanMap {
  std::uint64_t id = 0;
  std::string name;
  std::uintptr_t base = 0;
  std::size_t bytes = 0, page_bytes = 4096;
  struct Span {
    std::uint64_t offset = 0, bytes = 0;
  };
  std::vector<Span> spans;  ///< Sorted, disjoint; widened to pages for judging.

  /// Whether [offset, offset + bytes) lies inside the union of the page-rounded spans. No bytes at all
  /// do where that union begins, goes on or ends.
  bool covers(std::uint64_t offset, std::uint64_t bytes) const;
};

}  // namespace drought
