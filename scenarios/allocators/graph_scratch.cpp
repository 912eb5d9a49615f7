#include "scenarios/allocators/graph_scratch.hpp"

#include <stdexcept>

#include "kernels/shape.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::size_t kElementBytes = 2;  // bf16

/// In shapes mode a launch is judged and not run.
Status never_run(const Launch&) { return Status::not_supported; }
Status never_run_on_stream(const Launch&, void*) { return Status::not_supported; }

std::size_t appended(TensorGraph& graph, GraphTensor tensor) {
  graph.push_back(std::move(tensor));
  return graph.size() - 1;
}

}  // namespace

GraphScratch::GraphScratch(Options options) : options_(std::move(options)) {
  if (options_.bug != "none" && options_.bug != "frees_first")
    throw std::invalid_argument("unknown bug '" + options_.bug + "'; known: none, frees_first");
  if (options_.tokens.empty() || options_.layers == 0 || options_.hidden == 0 || options_.intermediate == 0)
    throw std::invalid_argument("tokens, layers, hidden and intermediate must be above 0");
  for (const std::size_t tokens : options_.tokens) {
    if (tokens == 0) throw std::invalid_argument("a batch of no tokens");
    checked_product("a layer", {tokens, options_.hidden, 3, kElementBytes});
    checked_product("a layer", {tokens, options_.intermediate, kElementBytes});
  }
}

TensorGraph GraphScratch::layers_of(std::size_t tokens) const {
  const std::size_t row = tokens * options_.hidden * kElementBytes;
  const std::size_t wide = tokens * options_.intermediate * kElementBytes;
  TensorGraph graph;
  std::size_t hidden = appended(graph, {.bytes = row, .is_input = true});
  const std::size_t row_bytes = options_.hidden * kElementBytes;
  std::vector<std::size_t> added(options_.sequence_tokens == 0 ? 0 : tokens / options_.sequence_tokens);
  for (std::size_t& input : added) {
    input = appended(graph, {.bytes = row_bytes, .is_input = true});
    appended(graph, {.bytes = row_bytes, .is_input = true, .is_output = true});
  }
  for (const std::size_t input : added)
    hidden = appended(graph, {.bytes = row, .sources = {hidden, input}, .in_place = true});
  for (std::size_t layer = 0; layer < options_.layers; ++layer) {
    const std::size_t norm = appended(graph, {.bytes = row, .sources = {hidden}});
    const std::size_t qkv = appended(graph, {.bytes = 3 * row, .sources = {norm}});
    const std::size_t query = appended(graph, {.bytes = row, .sources = {qkv}, .view_of = qkv});
    const std::size_t attended = appended(graph, {.bytes = row, .sources = {qkv, query}});
    const std::size_t projected = appended(graph, {.bytes = row, .sources = {attended}});
    hidden = appended(graph, {.bytes = row, .sources = {hidden, projected}, .in_place = true});
    const std::size_t second_norm = appended(graph, {.bytes = row, .sources = {hidden}});
    const std::size_t up = appended(graph, {.bytes = wide, .sources = {second_norm}});
    const std::size_t activated = appended(graph, {.bytes = wide, .sources = {up}, .in_place = true});
    const std::size_t down = appended(graph, {.bytes = row, .sources = {activated}});
    hidden = appended(graph, {.bytes = row, .sources = {hidden, down}, .in_place = true});
  }
  graph[hidden].is_output = true;
  return graph;
}

void GraphScratch::execute(Rig& rig, const GraphAllocator& allocator, const TensorGraph& graph) const {
  for (std::size_t i = 0; i < graph.size(); ++i) {
    if (graph[i].sources.empty() || graph[i].view_of) continue;
    std::vector<Operand> operands;
    for (const std::size_t source : graph[i].sources)
      operands.push_back({"source", allocator.data(source), graph[source].bytes, Access::read});
    operands.push_back({"result", allocator.data(i), graph[i].bytes, Access::write});
    must(rig.device().launch({.kernel = "graph_node",
                              .block = {32},
                              .operands = operands,
                              .host = never_run,
                              .cuda = never_run_on_stream}),
         "graph_node");
  }
}

void GraphScratch::run(Rig& rig) {
  if (rig.full())
    throw UserError("graph_scratch's nodes have no bodies: it needs [device] work = \"shapes\"");
  {
    GraphAllocator allocator(
        {&rig.memory()},
        {.chunk_bytes_max = options_.chunk_bytes_max == 0 ? DynTallocr::kUnbounded : options_.chunk_bytes_max,
         .frees_before_growing = options_.bug == "frees_first"});
    TensorGraph fitted;
    for (const std::size_t tokens : options_.tokens) {
      const TensorGraph graph = layers_of(tokens);
      try {
        allocator.allocate(graph);
      } catch (const OutOfMemory&) {
        rig.decide("refused_at", tokens);
        if (!fitted.empty()) {
          allocator.allocate(fitted);
          execute(rig, allocator, fitted);
        }
        throw;
      }
      execute(rig, allocator, graph);
      fitted = graph;
    }
    rig.decide("reserved_bytes", allocator.reserved_bytes());
  }
  rig.ledger().mark_teardown({"graph"});
}

}  // namespace drought
