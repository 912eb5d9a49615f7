#include "harness/memory/span_map.hpp"

#include <algorithm>

#include "harness/memory/bytes.hpp"

namespace drought {

bool SpanMap::covers(std::uint64_t offset, std::uint64_t wanted) const {
  if (offset > bytes || wanted > bytes - offset) return false;
  std::uint64_t at = offset;
  const std::uint64_t end = offset + wanted;
  for (const Span& span : spans) {
    const std::uint64_t begin = round_down(span.offset, page_bytes);
    const std::uint64_t stop = std::min<std::uint64_t>(round_up(span.offset + span.bytes, page_bytes), bytes);
    if (at < begin) return false;
    if (at > stop) continue;
    at = stop;
    if (at >= end) return true;
  }
  return false;
}

}  // namespace drought
