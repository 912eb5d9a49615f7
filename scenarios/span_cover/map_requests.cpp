#include "scenarios/span_cover/map_requests.hpp"

#include <bit>

namespace drought {
namespace {

class Requests {
 public:
  Requests(const ModelLayout& layout, const LayerSlice& slice, std::size_t page_bytes)
      : layout_(layout),
        slice_(slice),
        page_(page_bytes),
        spans_(slice_spans(layout, slice)),
        cover_(spans_, layout.file_bytes, page_bytes) {}

  std::vector<MapRequest> all(Random random, std::size_t random_count) {
    add_tensors();
    add_span_edges();
    add_region_edges();
    add_file_edges();
    add_number_edges();
    add_foreign();
    for (std::size_t i = 0; i < random_count; ++i) add_random(random);
    return std::move(made_);
  }

 private:
  void add(std::string_view kind, std::uint64_t offset, std::uint64_t bytes) {
    made_.push_back({kind, offset, bytes, false});
  }

  /// First, last and sixteen others of the slice; the first and last of every other layer.
  void add_tensors() {
    std::vector<const ModelTensor*> own;
    for (const ModelTensor& tensor : layout_.tensors)
      if (slice_.needs(tensor)) own.push_back(&tensor);
    const std::size_t stride = own.size() / 16 + 1;
    for (std::size_t i = 0; i < own.size(); i += stride) add("tensor", own[i]->offset, own[i]->bytes);
    add("tensor", own.back()->offset, own.back()->bytes);
    for (std::size_t i = 0; i < layout_.tensors.size(); ++i) {
      const ModelTensor& tensor = layout_.tensors[i];
      if (slice_.needs(tensor)) continue;
      const auto same_part = [&](const ModelTensor& other) {
        return other.group == tensor.group && other.layer == tensor.layer;
      };
      const bool is_first = i == 0 || !same_part(layout_.tensors[i - 1]);
      const bool is_last = i + 1 == layout_.tensors.size() || !same_part(layout_.tensors[i + 1]);
      if (is_first || is_last) add("neighbour", tensor.offset, tensor.bytes);
    }
  }

  void add_span_edges() {
    for (std::size_t i = 0; i < spans_.size(); ++i) {
      const std::uint64_t begin = spans_[i].offset, end = begin + spans_[i].bytes;
      add("span", begin, spans_[i].bytes);
      add("span edge", begin - 1, 1);
      add("span edge", begin - 1, 2);
      add("span edge", end - 1, 1);
      add("span edge", end - 1, 2);
      if (i + 1 == spans_.size()) continue;
      const std::uint64_t gap = spans_[i + 1].offset - end;
      add("gap", end, gap);
      add("across a gap", end - 1, gap + 2);
    }
  }

  void add_region_edges() {
    const Spans& regions = cover_.regions();
    for (std::size_t i = 0; i < regions.size(); ++i) {
      const std::uint64_t begin = regions[i].offset, end = begin + regions[i].bytes;
      add("region", begin, regions[i].bytes);
      add("region and a byte", begin, regions[i].bytes + 1);
      for (const std::uint64_t edge : {begin, end})
        for (const std::uint64_t bytes : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{page_}}) {
          if (edge != 0) add("page edge", edge - 1, bytes);
          add("page edge", edge, bytes);
          add("page edge", edge + 1, bytes);
          if (edge >= bytes) add("page edge", edge - bytes, bytes);
        }
      add("nothing", begin, 0);
      add("nothing", end, 0);
      add("nothing", end + 1, 0);
      if (begin != 0) add("nothing", begin - 1, 0);
      if (i + 1 == regions.size()) continue;
      const std::uint64_t hole = regions[i + 1].offset - end;
      add("hole", end, hole);
      add("hole", end + hole / 2, 1);
      add("hole", end + hole / 2, 0);
      add("across a hole", end - 1, hole + 2);
    }
    add("first to last", regions.front().offset, cover_.interval_bytes());
  }

  void add_file_edges() {
    const std::uint64_t size = layout_.file_bytes;
    add("whole file", 0, size);
    add("header", 0, 1);
    for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{page_}}) {
      add("end of file", size, bytes);
      add("past the file", size + 1, bytes);
      add("past the file", size + (std::uint64_t{1} << 30), bytes);
    }
    add("end of file", size - 1, 2);
    add("past the file", size - 1, size);
  }

  void add_number_edges() {
    const std::uint64_t inside = spans_.front().offset + 1, most = UINT64_MAX;
    add("end of numbers", most, 0);
    add("end of numbers", most, 1);
    add("end of numbers", most, most);
    add("end of numbers", most - 10, 100);
    add("wraps", inside, most);
    add("wraps", inside, most - inside);                         // Ends at 2^64 - 1.
    add("wraps", inside, most - inside + 1);                     // Ends at 0.
    add("wraps", inside + page_, most - page_ + 1 + page_ / 2);  // Ends inside, before where it began.
  }

  void add_foreign() {
    const std::uint64_t inside = spans_.front().offset;
    made_.push_back({"foreign", inside, 1, true});
    made_.push_back({"foreign", inside, spans_.front().bytes, true});
    made_.push_back({"foreign", inside, 0, true});
    made_.push_back({"foreign", 0, 0, true});
  }

  void add_random(Random& random) {
    const std::uint64_t size = layout_.file_bytes;
    const int bits = static_cast<int>(random.below(static_cast<std::uint64_t>(std::bit_width(size)) + 1));
    const std::uint64_t bytes = random.below((std::uint64_t{1} << bits) + 1);
    add("random", random.below(size + page_), bytes);
  }

  const ModelLayout& layout_;
  const LayerSlice slice_;
  const std::size_t page_;
  const Spans spans_;
  const PageCover cover_;
  std::vector<MapRequest> made_;
};

}  // namespace

std::vector<MapRequest> map_requests(const ModelLayout& layout, const LayerSlice& slice,
                                     std::size_t page_bytes, Random random, std::size_t random_count) {
  return Requests(layout, slice, page_bytes).all(random, random_count);
}

}  // namespace drought
