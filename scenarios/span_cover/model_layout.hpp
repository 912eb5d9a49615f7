// Where the tensors of a model file lie, and which byte spans a slice of its layers needs. A layout is
// plain data, so that a reader of real files can fill it as well as the recipes here.
//
// Slices and spans follow ds4's rules: one span for each tensor of the slice, sorted, merged where they
// touch or overlap and nowhere else, so that the padding behind a tensor of odd size ends a span.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/memory/ledger.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

using Spans = std::vector<SpanMap::Span>;

struct ModelTensor {
  enum class Group : std::uint8_t { layer, embedding, head };
  std::string name;
  Group group = Group::layer;
  unsigned layer = 0;  ///< Of Group::layer only.
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;  ///< From the start of the file.
};

struct ModelLayout {
  std::string name;
  unsigned layers = 0;
  std::uint64_t header_bytes = 0;
  std::uint64_t file_bytes = 0;
  std::vector<ModelTensor> tensors;  ///< In file order.

  /// Padding and header not counted.
  std::uint64_t tensor_bytes() const;
};

/// Layers first..last; the token embedding belongs to the slice that begins at layer 0.
struct LayerSlice {
  unsigned first = 0, last = 0;
  bool head = false;
  bool needs(const ModelTensor& tensor) const;
};

/// "21:42", "21:output" (to the last layer, with the head) or "0:20+output". Throws
/// std::invalid_argument that says what is wrong with the text.
LayerSlice parse_slice(std::string_view text, unsigned layers);

/// The tensors of a slice as sorted, disjoint byte spans.
Spans slice_spans(const ModelLayout& layout, const LayerSlice& slice);

std::uint64_t sum_of(const Spans& spans);

struct LayoutOptions {
  std::string model = "deepseek-v4-flash-q4";
  /// Order of the groups in the file: "layers" (one after another) or "interleaved" (one kind of tensor
  /// after another, over all layers), "token_embd" and "head", each once.
  std::vector<std::string> order{"layers", "token_embd", "head"};
  /// Metadata and tensor table. No published figure; a multiple of the alignment and, so that spans begin
  /// inside pages, of no page.
  std::size_t header_bytes = 5'000'000;
  static constexpr std::uint64_t alignment = 32;  ///< GGUF's default.
};

/// Names that make_layout knows.
std::vector<std::string> layout_names();

/// Throws std::invalid_argument for an unknown model or an order that is no permutation.
ModelLayout make_layout(const LayoutOptions& options);

/// Puts `tensors`, which have no offsets yet, in order behind the header, each at the next multiple of
/// LayoutOptions::alignment. Throws std::invalid_argument for an order that is no permutation.
ModelLayout place_tensors(std::string name, unsigned layers, std::vector<ModelTensor> tensors,
                          const LayoutOptions& options);

}  // namespace drought
