#include "scenarios/span_cover/page_cover.hpp"

#include <algorithm>

#include "harness/memory/bytes.hpp"

namespace drought {

std::string why_rejected(const Spans& spans, std::uint64_t file_bytes) {
  if (spans.empty()) return "no spans";
  for (const SpanMap::Span& span : spans) {
    const std::string which =
        "span at " + std::to_string(span.offset) + " of " + std::to_string(span.bytes) + " B";
    if (span.bytes == 0) return which + " is empty";
    if (span.offset > file_bytes || span.bytes > file_bytes - span.offset)
      return which + " leaves a file of " + std::to_string(file_bytes) + " B";
  }
  return {};
}

PageCover::PageCover(Spans spans, std::uint64_t file_bytes, std::size_t page_bytes, Rule rule) : rule_(rule) {
  std::sort(spans.begin(), spans.end(),
            [](const SpanMap::Span& a, const SpanMap::Span& b) { return a.offset < b.offset; });
  for (const SpanMap::Span& span : spans) {
    const std::uint64_t begin = round_down(span.offset, page_bytes);
    const std::uint64_t end =
        std::min<std::uint64_t>(round_up(span.offset + span.bytes, page_bytes), file_bytes);
    if (!regions_.empty() && begin <= regions_.back().offset + regions_.back().bytes) {
      SpanMap::Span& last = regions_.back();
      last.bytes = std::max(last.offset + last.bytes, end) - last.offset;
    } else {
      regions_.push_back({begin, end - begin});
    }
  }
}

std::uint64_t PageCover::interval_bytes() const {
  return regions_.empty() ? 0 : regions_.back().offset + regions_.back().bytes - regions_.front().offset;
}

const SpanMap::Span* PageCover::region_at(std::uint64_t offset) const {
  const auto after = std::upper_bound(
      regions_.begin(), regions_.end(), offset,
      [](std::uint64_t wanted, const SpanMap::Span& region) { return wanted < region.offset; });
  if (after == regions_.begin()) return nullptr;
  const SpanMap::Span& region = *std::prev(after);
  return offset - region.offset <= region.bytes ? &region : nullptr;
}

bool PageCover::admits(std::uint64_t offset, std::uint64_t bytes) const {
  if (rule_ == Rule::interval) {
    if (regions_.empty() || offset < regions_.front().offset) return false;
    const std::uint64_t into = offset - regions_.front().offset;
    return into <= interval_bytes() && bytes <= interval_bytes() - into;
  }
  if (rule_ == Rule::wrapping_sum) {
    return std::any_of(regions_.begin(), regions_.end(), [&](const SpanMap::Span& region) {
      return offset >= region.offset && offset + bytes <= region.offset + region.bytes;
    });
  }
  const SpanMap::Span* const region = region_at(offset);
  return region && bytes <= region->bytes - (offset - region->offset);
}

}  // namespace drought
