// What tests of ggml's graph allocator stand on: buffers that refuse by number, the parts of a graph, and
// the checks of llama.cpp's own tests (tests/test-alloc.cpp).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "allocators/graph_allocator.hpp"

namespace drought {

/// A kind of buffer: counts, and refuses the borrowing that a test names.
class CountedBuffers final : public Resource {
 public:
  void* allocate(Request request) override {
    if (++asked == refuse_at) throw OutOfMemory(request, "the test says so");
    void* const block = reinterpret_cast<void*>(next_);
    next_ += request.bytes + 4096;
    lent_[block] = request.bytes;
    live_bytes += request.bytes;
    peak_bytes = std::max(peak_bytes, live_bytes);
    return block;
  }
  void deallocate(void* block, Request request) noexcept override {
    ASSERT_TRUE(lent_.contains(block));
    EXPECT_EQ(lent_[block], request.bytes);
    live_bytes -= request.bytes;
    lent_.erase(block);
  }
  bool lends(const void* data, std::size_t bytes) const {
    for (const auto& [block, lent] : lent_)
      if (data >= block &&
          static_cast<const std::byte*>(data) + bytes <= static_cast<const std::byte*>(block) + lent)
        return true;
    return false;
  }
  std::size_t blocks() const { return lent_.size(); }

  std::size_t asked = 0, refuse_at = 0, live_bytes = 0, peak_bytes = 0;

 private:
  std::uintptr_t next_ = std::uintptr_t{1} << 40;
  std::map<void*, std::size_t> lent_;
};

inline constexpr GraphAllocator::Options kSmall{.alignment = 8, .chunk_bytes_max = 32};

struct GraphBench {
  explicit GraphBench(GraphAllocator::Options options = kSmall, std::size_t kinds = 1) : buffers(kinds) {
    std::vector<Resource*> lenders;
    for (CountedBuffers& kind : buffers) lenders.push_back(&kind);
    allocator.emplace(lenders, options);
  }
  std::vector<CountedBuffers> buffers;
  std::optional<GraphAllocator> allocator;
};

inline GraphTensor input(std::size_t bytes) { return {.bytes = bytes, .is_input = true}; }
inline GraphTensor made(std::size_t bytes, std::vector<std::size_t> sources, bool in_place = false) {
  return {.bytes = bytes, .sources = std::move(sources), .in_place = in_place};
}
inline GraphTensor output(std::size_t bytes, std::vector<std::size_t> sources) {
  return {.bytes = bytes, .sources = std::move(sources), .is_output = true};
}
inline GraphTensor view(std::size_t bytes, std::size_t of) {
  return {.bytes = bytes, .sources = {of}, .view_of = of};
}

inline std::size_t last_use(const TensorGraph& graph, std::size_t tensor) {
  std::size_t last = tensor;
  for (std::size_t i = 0; i < graph.size(); ++i) {
    const auto& sources = graph[i].sources;
    if (std::find(sources.begin(), sources.end(), tensor) == sources.end()) continue;
    last = std::max(last, graph[i].view_of == tensor ? last_use(graph, i) : i);
  }
  return graph[tensor].is_output ? graph.size() : last;
}

/// What is wrong with a plan: a tensor outside its chunk, or two alive at once in one place.
inline std::string mistake(const TensorGraph& graph, const GraphPlan& plan) {
  for (std::size_t a = 0; a < graph.size(); ++a) {
    const std::size_t bytes = graph[a].bytes, kind = graph[a].buffer;
    const auto [chunk, offset] = plan.tensors[a].place;
    if (bytes == 0) continue;
    const auto name = "tensor " + std::to_string(a);
    const std::vector<std::size_t>& chunks = plan.chunk_bytes[kind];
    if (chunk >= chunks.size() || offset + bytes > chunks[chunk]) return name + " lies outside its chunk";
    for (std::size_t b = a + 1; b < graph.size(); ++b) {
      if (graph[a].view_of || graph[b].view_of || graph[b].bytes == 0 || graph[b].buffer != kind) continue;
      const auto [other_chunk, other] = plan.tensors[b].place;
      if (other_chunk != chunk || other >= offset + bytes || offset >= other + graph[b].bytes) continue;
      // An input, and what has no sources, is there from the start.
      const bool from_start = graph[b].is_input || graph[b].sources.empty();
      const std::size_t last = last_use(graph, a);
      if (from_start || last > b) return name + " and " + std::to_string(b) + " share bytes";
      if (last == b && !graph[b].in_place) return name + " is written over while it is read";
    }
  }
  return {};
}

}  // namespace drought
