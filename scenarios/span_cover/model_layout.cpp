#include "scenarios/span_cover/model_layout.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

using Group = ModelTensor::Group;

bool is_order_of_groups(const std::vector<std::string>& order) {
  const auto count = [&](std::string_view word) { return std::count(order.begin(), order.end(), word); };
  return order.size() == 3 && count("layers") + count("interleaved") == 1 && count("token_embd") == 1 &&
         count("head") == 1;
}

std::string_view kind_of(const ModelTensor& tensor) {
  const std::string_view name = tensor.name;
  return name.substr(name.find('.', name.find('.') + 1) + 1);  // "blk.7.attn_q.weight" -> "attn_q.weight"
}

/// The layers' tensors by kind, kinds in the order in which they first appear.
std::vector<ModelTensor> interleaved(const std::vector<ModelTensor>& tensors) {
  std::vector<std::string_view> kinds;
  for (const ModelTensor& tensor : tensors)
    if (std::find(kinds.begin(), kinds.end(), kind_of(tensor)) == kinds.end())
      kinds.push_back(kind_of(tensor));
  std::vector<ModelTensor> sorted;
  for (const std::string_view kind : kinds)
    for (const ModelTensor& tensor : tensors)
      if (kind_of(tensor) == kind) sorted.push_back(tensor);
  return sorted;
}

unsigned parse_layer(std::string_view text, std::string_view whole) {
  unsigned layer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc() || end != text.data() + text.size())
    throw std::invalid_argument("layers '" + std::string(whole) + "': '" + std::string(text) +
                                "' is no layer");
  return layer;
}

}  // namespace

std::uint64_t ModelLayout::tensor_bytes() const {
  std::uint64_t bytes = 0;
  for (const ModelTensor& tensor : tensors) bytes += tensor.bytes;
  return bytes;
}

bool LayerSlice::needs(const ModelTensor& tensor) const {
  switch (tensor.group) {
    case Group::layer:
      return tensor.layer >= first && tensor.layer <= last;
    case Group::embedding:
      return first == 0;
    case Group::head:
      return head;
  }
  return false;
}

LayerSlice parse_slice(std::string_view text, unsigned layers) {
  const auto wrong = [&](const std::string& why) {
    return std::invalid_argument("layers '" + std::string(text) + "': " + why);
  };
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) throw wrong("want A:B, A:output or A:B+output");
  LayerSlice slice;
  slice.first = parse_layer(text.substr(0, colon), text);
  std::string_view rest = text.substr(colon + 1);
  constexpr std::string_view kHead = "+output";
  if (rest == "output") {
    slice.head = true;
    slice.last = layers - 1;
  } else {
    slice.head = rest.ends_with(kHead);
    if (slice.head) rest.remove_suffix(kHead.size());
    slice.last = parse_layer(rest, text);
  }
  if (slice.last >= layers) throw wrong("the model ends at layer " + std::to_string(layers - 1));
  if (slice.last < slice.first) throw wrong("the last layer comes before the first");
  return slice;
}

Spans slice_spans(const ModelLayout& layout, const LayerSlice& slice) {
  Spans spans;
  for (const ModelTensor& tensor : layout.tensors)
    if (slice.needs(tensor)) spans.push_back({tensor.offset, tensor.bytes});
  std::sort(spans.begin(), spans.end(), [](const SpanMap::Span& a, const SpanMap::Span& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  Spans merged;
  for (const SpanMap::Span& span : spans) {
    if (merged.empty() || span.offset > merged.back().offset + merged.back().bytes) {
      merged.push_back(span);
    } else {
      const std::uint64_t end =
          std::max(merged.back().offset + merged.back().bytes, span.offset + span.bytes);
      merged.back().bytes = end - merged.back().offset;
    }
  }
  return merged;
}

std::uint64_t sum_of(const Spans& spans) {
  std::uint64_t bytes = 0;
  for (const SpanMap::Span& span : spans) bytes += span.bytes;
  return bytes;
}

ModelLayout place_tensors(std::string name, unsigned layers, std::vector<ModelTensor> tensors,
                          const LayoutOptions& options) {
  if (!is_order_of_groups(options.order))
    throw std::invalid_argument("order wants 'layers' or 'interleaved', 'token_embd' and 'head', each once");
  ModelLayout layout{std::move(name), layers, options.header_bytes, 0, {}};
  for (const std::string& part : options.order) {
    const Group group =
        part == "token_embd" ? Group::embedding : (part == "head" ? Group::head : Group::layer);
    std::vector<ModelTensor> chosen;
    for (const ModelTensor& tensor : tensors)
      if (tensor.group == group) chosen.push_back(tensor);
    if (part == "interleaved") chosen = interleaved(chosen);
    layout.tensors.insert(layout.tensors.end(), chosen.begin(), chosen.end());
  }
  std::uint64_t at = options.header_bytes;
  for (ModelTensor& tensor : layout.tensors) {
    tensor.offset = round_up(at, LayoutOptions::alignment);
    at = tensor.offset + tensor.bytes;
  }
  layout.file_bytes = at;
  return layout;
}

}  // namespace drought
