#include "allocators/graph_allocator.hpp"

#include <algorithm>
#include <stdexcept>

#include "harness/memory/bytes.hpp"

namespace drought {

/// Walks one graph in its order, as the execution will.
class GraphAllocator::Planner {
 public:
  Planner(const TensorGraph& graph, const Options& options, std::size_t buffers)
      : graph_(graph), options_(options), nodes_(graph.size()) {
    for (std::size_t i = 0; i < buffers; ++i)
      places_.emplace_back(DynTallocr::Options{.alignment = options.alignment,
                                               .best_fit_per_chunk = options.best_fit_per_chunk});
  }

  GraphPlan run() {
    validate();
    for (std::size_t i = 0; i < graph_.size(); ++i) {
      if (graph_[i].view_of) ++nodes_[owner(i)].views;
      if (graph_[i].is_output) nodes_[owner(i)].is_kept = true;
      for (const std::size_t source : graph_[i].sources) ++nodes_[source].children;
    }
    // What is there before the first operation: inputs, and what has no sources.
    for (std::size_t i = 0; i < graph_.size(); ++i)
      if (graph_[i].is_input || graph_[i].sources.empty()) allocate(i);
    for (std::size_t i = 0; i < graph_.size(); ++i) {
      allocate(i);
      for (const std::size_t source : graph_[i].sources) used(source);
    }
    return result();
  }

 private:
  struct Node {
    std::size_t children = 0, views = 0;  ///< That are still to come.
    bool is_placed = false;
    bool is_kept = false;       ///< It or a view of it is an output.
    bool is_allocated = false;  ///< Its place is its own to give up.
    DynTallocr::Place place;
    std::optional<std::size_t> over;
  };

  void validate() const {
    for (std::size_t i = 0; i < graph_.size(); ++i) {
      const GraphTensor& tensor = graph_[i];
      const auto wrong = [&](const char* what) {
        throw std::invalid_argument("tensor " + std::to_string(i) + " " + what);
      };
      for (const std::size_t source : tensor.sources)
        if (source >= i) wrong("has a source that does not stand before it");
      if (tensor.view_of && *tensor.view_of >= i) wrong("views a tensor that does not stand before it");
      if (tensor.buffer >= places_.size()) wrong("lies in a kind of buffer that there is not");
      if (tensor.view_of && tensor.buffer != graph_[owner(i)].buffer)
        wrong("lies in another buffer than what it views");
      if (tensor.view_of && tensor.bytes > graph_[owner(i)].bytes) wrong("shows more than the tensor has");
      if (tensor.bytes > DynTallocr::kUnbounded / 2) wrong("is larger than any memory");
    }
  }

  /// The tensor whose memory it is.
  std::size_t owner(std::size_t tensor) const {
    while (graph_[tensor].view_of) tensor = *graph_[tensor].view_of;
    return tensor;
  }

  void allocate(std::size_t i) {
    Node& node = nodes_[i];
    const GraphTensor& tensor = graph_[i];
    if (node.is_placed || tensor.view_of) return;
    node.is_placed = true;
    node.is_allocated = tensor.bytes != 0;
    if (!node.is_allocated || (tensor.in_place && takes_over_a_source(i))) return;
    DynTallocr& places = places_[tensor.buffer];
    std::optional<DynTallocr::Place> place = places.take(tensor.bytes);
    if (!place) {
      const bool is_last = places.open_chunks() + 1 == DynTallocr::kChunks;
      const std::size_t end = std::max(places.rounded(tensor.bytes), options_.chunk_bytes_max);
      // The last chunk has no end, so a take from it cannot fail, and no further one is ever opened.
      places.open(is_last ? DynTallocr::kUnbounded : end);
      place = places.take(tensor.bytes);
    }
    node.place = *place;
  }

  // A source of the same size that nobody else will read.
  bool takes_over_a_source(std::size_t i) {
    for (const std::size_t source : graph_[i].sources) {
      const std::size_t held_by = owner(source);
      Node& holder = nodes_[held_by];
      if (!holder.is_allocated || holder.is_kept) continue;
      if (graph_[source].bytes != graph_[i].bytes || graph_[held_by].bytes != graph_[i].bytes) continue;
      if (graph_[held_by].buffer != graph_[i].buffer) continue;
      const Node& read = nodes_[source];
      const bool last_use = source == held_by
                                ? read.children == 1 && read.views == 0
                                : read.children == 1 && holder.children == 0 && holder.views == 1;
      if (!last_use) continue;
      nodes_[i].place = holder.place;
      nodes_[i].over = source;
      holder.is_allocated = false;
      return true;
    }
    return false;
  }

  void used(std::size_t source) {
    Node& node = nodes_[source];
    if (--node.children != 0 || node.views != 0) return;
    const std::size_t held_by = owner(source);
    Node& holder = nodes_[held_by];
    if (held_by != source && (--holder.views != 0 || holder.children != 0)) return;
    if (!holder.is_allocated || holder.is_kept) return;
    holder.is_allocated = false;
    if (!places_[graph_[held_by].buffer].free(holder.place, graph_[held_by].bytes))
      throw OutOfMemory({.bytes = graph_[held_by].bytes, .tag = "graph"},
                        "its chunk has " + std::to_string(DynTallocr::kFreeBlocks) + " free blocks already");
  }

  GraphPlan result() const {
    GraphPlan plan{.graph = graph_};
    for (std::size_t i = 0; i < graph_.size(); ++i)
      plan.tensors.push_back({nodes_[owner(i)].place, nodes_[i].over});
    for (const DynTallocr& places : places_) {
      std::vector<std::size_t>& sizes = plan.chunk_bytes.emplace_back();
      for (std::size_t c = 0; c < DynTallocr::kChunks && places.is_open(c); ++c)
        sizes.push_back(places.grown_bytes(c));
    }
    return plan;
  }

  const TensorGraph& graph_;
  const Options& options_;
  std::vector<Node> nodes_;
  std::vector<DynTallocr> places_;
};

GraphAllocator::GraphAllocator(std::vector<Resource*> buffers, Options options)
    : buffers_(std::move(buffers)), options_(options), chunks_(buffers_.size()) {}

GraphPlan GraphAllocator::plan(const TensorGraph& graph) const {
  return Planner(graph, options_, buffers_.size()).run();
}

std::vector<std::size_t> GraphAllocator::reserve_bytes(const TensorGraph& graph) const {
  std::vector<std::size_t> bytes;
  const GraphPlan wanted = plan(graph);
  for (std::size_t b = 0; b < buffers_.size(); ++b) {
    bytes.push_back(0);
    for (std::size_t c = 0; c < std::max(wanted.chunk_bytes[b].size(), chunks_[b].size()); ++c)
      bytes.back() += std::max(c < wanted.chunk_bytes[b].size() ? wanted.chunk_bytes[b][c] : 0,
                               c < chunks_[b].size() ? chunks_[b][c].bytes() : 0);
  }
  return bytes;
}

void GraphAllocator::reserve(const TensorGraph& graph) {
  GraphPlan wanted = plan(graph);
  if (options_.frees_before_growing) plan_ = wanted;
  std::vector<Chunks> grown(buffers_.size());
  for (std::size_t b = 0; b < buffers_.size(); ++b) {
    const std::vector<std::size_t>& sizes = wanted.chunk_bytes[b];
    grown[b].resize(sizes.size());
    chunks_[b].resize(std::max(chunks_[b].size(), sizes.size()));
    for (std::size_t c = 0; c < sizes.size(); ++c) {
      if (sizes[c] <= chunks_[b][c].bytes()) continue;
      if (options_.frees_before_growing) chunks_[b][c].reset();
      grown[b][c] = Buffer(*buffers_[b], {.bytes = sizes[c], .tag = "graph"});
    }
  }
  // From here on nothing is refused.
  for (std::size_t b = 0; b < buffers_.size(); ++b)
    for (std::size_t c = 0; c < grown[b].size(); ++c)
      if (grown[b][c]) chunks_[b][c] = std::move(grown[b][c]);
  plan_ = std::move(wanted);
}

bool GraphAllocator::needs_reserve(const TensorGraph& graph) const {
  if (graph.size() != plan_.graph.size()) return true;
  for (std::size_t i = 0; i < graph.size(); ++i) {
    const GraphTensor &wanted = graph[i], &planned = plan_.graph[i];
    const bool same_shape = wanted.sources == planned.sources && wanted.view_of == planned.view_of &&
                            wanted.in_place == planned.in_place && wanted.is_input == planned.is_input &&
                            wanted.is_output == planned.is_output && wanted.buffer == planned.buffer;
    if (!same_shape || wanted.bytes > planned.bytes) return true;
    const std::optional<std::size_t> over = plan_.tensors[i].over;
    if (over && wanted.bytes != graph[*over].bytes) return true;
  }
  return false;
}

bool GraphAllocator::allocate(const TensorGraph& graph) {
  if (!needs_reserve(graph)) return true;
  if (buffers_.size() > 1) return false;
  reserve(graph);
  return true;
}

std::byte* GraphAllocator::data(std::size_t tensor) const {
  const DynTallocr::Place place = plan_.tensors[tensor].place;
  const Chunks& chunks = chunks_[plan_.graph[tensor].buffer];
  // A tensor without bytes has a place in no chunk.
  return place.chunk < chunks.size() ? chunks[place.chunk].data() + place.offset : nullptr;
}

std::size_t GraphAllocator::reserved_bytes() const {
  std::size_t bytes = 0;
  for (const Chunks& chunks : chunks_)
    for (const Buffer& chunk : chunks) bytes += chunk.bytes();
  return bytes;
}

}  // namespace drought
