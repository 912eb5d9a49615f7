// ggml's graph allocator (ggml_gallocr, ggml-alloc.c): places every tensor of a graph before anything runs,
// from when each is used first and last, and borrows what the plan needs in one or a few chunks for each
// kind of buffer. A view has no memory of its own, an operation that can writes over its source, an output
// is never given up.
//
// ggml frees the old chunks before it asks for larger ones, and by then its table describes the new graph:
// refused, it is left with neither, and the next graph reads through a null pointer (llama.cpp's way to
// ollama issue 10753). Here the larger chunks are borrowed first, so that a refusal leaves the old plan and
// its chunks as they were. The price is that both live for a moment. ggml also takes a plan to serve any
// graph of as many tensors that are no larger; here the graph must be of the same shape too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "allocators/dyn_tallocr.hpp"
#include "harness/memory/buffer.hpp"

namespace drought {

struct GraphTensor {
  std::size_t bytes = 0;             ///< Of a view: what it shows.
  std::vector<std::size_t> sources;  ///< Tensors it is computed from; each stands before it.
  std::optional<std::size_t> view_of;
  bool in_place = false;   ///< May be computed into a source of its size.
  bool is_input = false;   ///< Has its place from the start, so that nothing is computed over it.
  bool is_output = false;  ///< Keeps its place to the end.
  std::size_t buffer = 0;  ///< Which kind of buffer it lies in.
};
/// In the order of execution.
using TensorGraph = std::vector<GraphTensor>;

/// Where every tensor lies, and how large the chunks must be.
struct GraphPlan {
  struct Tensor {
    DynTallocr::Place place;
    std::optional<std::size_t> over;  ///< The source that it is computed into.
  };
  TensorGraph graph;  ///< What was planned.
  std::vector<Tensor> tensors;
  std::vector<std::vector<std::size_t>> chunk_bytes;  ///< For each kind of buffer.
};

class GraphAllocator {
 public:
  struct Options {
    std::size_t alignment = 128;                           ///< Of CUDA's buffers.
    std::size_t chunk_bytes_max = DynTallocr::kUnbounded;  ///< CUDA's limit: none. The last chunk has none.
    bool best_fit_per_chunk = false;                       ///< ggml's rule.
    bool frees_before_growing = false;                     ///< ggml's order.
  };

  /// `buffers` lend the kinds of buffers; they outlive this.
  GraphAllocator(std::vector<Resource*> buffers, Options options);

  /// The plan for a graph. Throws std::invalid_argument for a graph that is none, OutOfMemory when its
  /// blocks fall apart into more pieces than a chunk can keep.
  GraphPlan plan(const TensorGraph& graph) const;
  /// Bytes that reserve() would hold for the graph, for each kind of buffer, once the old ones are gone.
  std::vector<std::size_t> reserve_bytes(const TensorGraph& graph) const;

  /// Plans and makes sure of the memory. Throws what a buffer's resource throws; then the plan before this
  /// one and its chunks are as they were. A chunk that is large enough is kept.
  void reserve(const TensorGraph& graph);
  /// Whether the present plan does not serve the graph: it differs by more than smaller tensors.
  bool needs_reserve(const TensorGraph& graph) const;
  /// The graph may run: reserves where that is needed. With more than one kind of buffer that is the
  /// caller's to do, after it has waited for all of them, and false is answered.
  bool allocate(const TensorGraph& graph);

  /// Where the tensor of the present plan lies.
  std::byte* data(std::size_t tensor) const;
  const GraphPlan& current() const { return plan_; }
  std::size_t reserved_bytes() const;

 private:
  class Planner;
  using Chunks = std::vector<Buffer>;

  std::vector<Resource*> buffers_;
  const Options options_;
  GraphPlan plan_;
  std::vector<Chunks> chunks_;
};

}  // namespace drought
