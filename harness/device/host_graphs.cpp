#include "harness/device/host_graphs.hpp"

#include <utility>

namespace drought {

Status GraphMemory::reserve(std::uintptr_t& out, std::size_t bytes) {
  if (bytes > budget_.total_bytes()) return Status::memory_allocation;
  const Block block{.bytes = bytes};
  const auto begin = space_.take(mapped_bytes(block));
  if (!begin) return Status::memory_allocation;
  blocks_[*begin] = block;
  out = *begin;
  return Status::success;
}

void GraphMemory::abandon(std::uintptr_t begin) {
  blocks_.at(begin).abandoned = true;
  forget_if_unused(begin);
}

void GraphMemory::forget_if_unused(std::uintptr_t begin) {
  const auto found = blocks_.find(begin);
  const Block& block = found->second;
  if (!block.abandoned || block.mapped) return;
  space_.give(begin, mapped_bytes(block));
  blocks_.erase(found);
}

Status GraphMemory::lend(std::uintptr_t begin) {
  Block& block = blocks_.at(begin);
  if (block.lives) return Status::invalid_value;
  if (!block.mapped) {
    if (!budget_.take(mapped_bytes(block))) return Status::memory_allocation;
    if (backed_) protect_pages(begin, mapped_bytes(block), Protection::read_write);
    block.mapped = true;
  }
  block.lives = true;
  return Status::success;
}

Status GraphMemory::free(std::uintptr_t begin) {
  const auto found = blocks_.find(begin);
  if (found == blocks_.end() || !found->second.lives) return Status::invalid_value;
  found->second.lives = false;
  return Status::success;
}

void GraphMemory::trim() {
  for (auto it = blocks_.begin(); it != blocks_.end();) {
    auto& [begin, block] = *it++;  // Which may go.
    if (!block.mapped || block.lives) continue;
    if (backed_) drop_pages(begin, mapped_bytes(block));
    budget_.give(mapped_bytes(block));
    block.mapped = false;
    forget_if_unused(begin);
  }
}

std::optional<AddressRange> GraphMemory::block(std::uintptr_t address) const {
  const auto after = blocks_.upper_bound(address);
  if (after == blocks_.begin()) return {};
  const auto& [begin, block] = *std::prev(after);
  if (address - begin >= block.bytes) return {};
  return AddressRange{begin, block.bytes};
}

std::uintptr_t GraphMemory::mapped_until(std::uintptr_t address) const {
  const auto after = blocks_.upper_bound(address);
  if (after == blocks_.begin()) return 0;
  const auto& [begin, block] = *std::prev(after);
  return block.mapped && address - begin < mapped_bytes(block) ? begin + mapped_bytes(block) : 0;
}

Graph HostGraphs::add(GraphNodes nodes) {
  const Graph graph{next_graph_++};
  graphs_[graph.id] = std::make_shared<const Kept>(std::move(nodes), memory_);
  return graph;
}

Status HostGraphs::destroy(Graph graph) {
  return graphs_.erase(graph.id) != 0 ? Status::success : Status::invalid_value;
}

Status HostGraphs::instantiate(GraphInstance& out, Graph graph) {
  const auto found = graphs_.find(graph.id);
  if (found == graphs_.end()) return Status::invalid_value;
  if (!budget_.take(profile_.graph_bytes)) return Status::memory_allocation;
  out = {next_instance_++};
  instances_[out.id] = found->second;
  return Status::success;
}

Status HostGraphs::destroy(GraphInstance instance) {
  if (instances_.erase(instance.id) == 0) return Status::invalid_value;
  budget_.give(profile_.graph_bytes);
  return Status::success;
}

const GraphNodes* HostGraphs::nodes(GraphInstance instance) const {
  const auto found = instances_.find(instance.id);
  return found == instances_.end() ? nullptr : &found->second->nodes;
}

Status HostGraphs::run_memory_nodes(const GraphNodes& nodes) {
  Status status = Status::success;
  std::size_t done = 0;
  for (; done < nodes.size(); ++done) {
    if (nodes[done].allocates != 0) status = memory_.lend(nodes[done].allocates);
    if (status != Status::success) break;
  }
  if (status != Status::success) {
    while (done-- > 0)
      if (nodes[done].allocates != 0) (void)memory_.free(nodes[done].allocates);
    return status;
  }
  for (const GraphNode& node : nodes)
    if (node.frees != 0) (void)memory_.free(node.frees);
  return Status::success;
}

}  // namespace drought
