// The guard of a partial map and the ledger's own judgement, both beside a model that marks bytes.
#include "scenarios/span_cover/page_cover.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "harness/sched/random.hpp"

namespace drought {
namespace {

constexpr std::size_t kPage = 16;

/// Every byte of a small file, marked where a page of it belongs to a span.
class Marks {
 public:
  Marks(const Spans& spans, std::uint64_t file_bytes) : marked_(file_bytes, false) {
    for (const SpanMap::Span& span : spans)
      for (std::uint64_t byte = 0; byte < file_bytes; ++byte)
        if (byte / kPage >= span.offset / kPage && byte / kPage <= (span.offset + span.bytes - 1) / kPage)
          marked_[byte] = true;
  }
  bool admits(std::uint64_t offset, std::uint64_t bytes) const {
    if (offset > marked_.size()) return false;
    if (bytes == 0)
      return (offset < marked_.size() && marked_[offset]) || (offset > 0 && marked_[offset - 1]);
    if (bytes > marked_.size() - offset) return false;
    for (std::uint64_t i = 0; i < bytes; ++i)
      if (!marked_[offset + i]) return false;
    return true;
  }

 private:
  std::vector<bool> marked_;
};

Spans drawn_spans(Random& random, std::uint64_t file_bytes) {
  Spans spans(1 + random.below(6));
  for (SpanMap::Span& span : spans) {
    span.offset = random.below(file_bytes);
    span.bytes = 1 + random.below(std::min<std::uint64_t>(file_bytes - span.offset, 40));
  }
  return spans;
}

TEST(PageCover, AgreesWithMarkedBytesOnEveryRequestAsTheLedgerDoes) {
  Random random(316);
  constexpr std::uint64_t most = UINT64_MAX;
  for (int drawn = 0; drawn < 200 && !HasFailure(); ++drawn) {
    const std::uint64_t file_bytes = 1 + random.below(400);
    const Spans spans = drawn_spans(random, file_bytes);
    ASSERT_EQ(why_rejected(spans, file_bytes), "");
    const Marks marks(spans, file_bytes);
    const PageCover cover(spans, file_bytes, kPage);
    SpanMap truth{.bytes = file_bytes, .page_bytes = kPage, .spans = spans};
    std::sort(truth.spans.begin(), truth.spans.end(), [](auto& a, auto& b) { return a.offset < b.offset; });
    const auto ask = [&](std::uint64_t offset, std::uint64_t bytes) {
      const bool expected = marks.admits(offset, bytes);
      EXPECT_EQ(cover.admits(offset, bytes), expected) << drawn << ": " << offset << " + " << bytes;
      EXPECT_EQ(truth.covers(offset, bytes), expected) << drawn << ": " << offset << " + " << bytes;
    };
    for (std::uint64_t offset = 0; offset < file_bytes + 20; ++offset)
      for (const std::uint64_t bytes :
           {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{15}, std::uint64_t{16},
            std::uint64_t{17}, std::uint64_t{50}, file_bytes - 1, most - offset, most - offset + 1,
            most - offset + 9, most})
        ask(offset, bytes);
    for (const std::uint64_t far : {most, most - 10, most / 2})
      for (const std::uint64_t bytes :
           {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{11}, std::uint64_t{100}, most})
        ask(far, bytes);
  }
}

TEST(PageCover, KeepsItsRegionsApartInOrderAndInsideTheFile) {
  Random random(293);
  std::size_t regions = 0;
  for (int drawn = 0; drawn < 500; ++drawn) {
    const std::uint64_t file_bytes = 1 + random.below(2000);
    const PageCover cover(drawn_spans(random, file_bytes), file_bytes, kPage);
    std::uint64_t end = 0;
    for (const SpanMap::Span& region : cover.regions()) {
      EXPECT_EQ(region.offset % kPage, 0u);
      EXPECT_TRUE(end == 0 || region.offset > end);
      end = region.offset + region.bytes;
      EXPECT_LE(end, file_bytes);
      EXPECT_TRUE(end % kPage == 0 || end == file_bytes);
    }
    regions += cover.regions().size();
    EXPECT_LE(cover.bytes(), cover.interval_bytes());
  }
  EXPECT_GT(regions, 1000u) << "hardly a file had two regions";
}

TEST(PageCover, RejectsATableThatLeavesTheFileHoweverItsSumWraps) {
  const Spans good{{10, 20}, {10, 20}, {5, 90}, {99, 1}};
  EXPECT_EQ(why_rejected(good, 100), "");
  for (const SpanMap::Span bad : {SpanMap::Span{0, 0},
                                  {100, 1},
                                  {101, 1},
                                  {99, 2},
                                  {~0ull, 1},
                                  {1, ~0ull},
                                  {50, ~0ull - 48},
                                  {~0ull, ~0ull}}) {
    Spans table = good;
    table.push_back(bad);
    EXPECT_NE(why_rejected(table, 100), "") << bad.offset << " " << bad.bytes;
  }
  EXPECT_NE(why_rejected({}, 100), "");
}

}  // namespace
}  // namespace drought
