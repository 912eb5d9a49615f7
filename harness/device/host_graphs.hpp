// Graphs of the simulated device: what captures made, their instances, and the memory that their memory
// nodes lend, answering as an H200's driver was measured to.
//
// A memory node's address is fixed when it is captured and has no memory yet: the first launch maps it.
// It stays mapped until graph memory is trimmed, and is no longer to be used once it is freed.
#pragma once

#include <map>
#include <memory>

#include "harness/device/host_captures.hpp"
#include "harness/device/host_pages.hpp"

namespace drought {

class GraphMemory {
 public:
  /// All three outlive this. `backed`: blocks can be read and written.
  GraphMemory(const Profile& profile, Budget& budget, AddressSpace& space, bool backed)
      : profile_(profile), budget_(budget), space_(space), backed_(backed) {}

  /// An address for a memory node, of bytes > 0.
  Status reserve(std::uintptr_t& out, std::size_t bytes);
  /// No node allocates the block any more.
  void abandon(std::uintptr_t begin);
  /// The node runs: invalid_value while the block of an earlier launch lives.
  Status lend(std::uintptr_t begin);
  /// invalid_value unless the block lives.
  Status free(std::uintptr_t begin);
  void trim();

  bool is_known(std::uintptr_t begin) const { return blocks_.count(begin) != 0; }
  /// The block around `address`, lent or not.
  std::optional<AddressRange> block(std::uintptr_t address) const;
  /// Where the mapping that holds `address` ends; 0 when the address is not mapped.
  std::uintptr_t mapped_until(std::uintptr_t address) const;

 private:
  struct Block {
    std::size_t bytes = 0;
    bool mapped = false, lives = false, abandoned = false;
  };
  std::size_t mapped_bytes(const Block& block) const {
    return round_up(block.bytes, profile_.granularity_bytes);
  }
  void forget_if_unused(std::uintptr_t begin);

  const Profile& profile_;
  Budget& budget_;
  AddressSpace& space_;
  const bool backed_;
  std::map<std::uintptr_t, Block> blocks_;
};

class HostGraphs {
 public:
  /// All three outlive this.
  HostGraphs(const Profile& profile, Budget& budget, GraphMemory& memory)
      : profile_(profile), budget_(budget), memory_(memory) {}

  Graph add(GraphNodes nodes);
  /// Of a capture that came to nothing.
  void discard(GraphNodes nodes) { const Kept gone(std::move(nodes), memory_); }
  Status destroy(Graph graph);
  Status instantiate(GraphInstance& out, Graph graph);
  Status destroy(GraphInstance instance);
  /// Null for what is not known.
  const GraphNodes* nodes(GraphInstance instance) const;
  /// What the memory nodes of a launch do, before its work is enqueued. invalid_value when a block that an
  /// earlier launch lent still lives, memory_allocation when one cannot be mapped; nothing lives then that
  /// did not.
  Status run_memory_nodes(const GraphNodes& nodes);

 private:
  struct Kept {
    Kept(GraphNodes recorded, GraphMemory& lender) : nodes(std::move(recorded)), memory(lender) {}
    ~Kept() {
      for (const GraphNode& node : nodes)
        if (node.allocates != 0) memory.abandon(node.allocates);
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    GraphNodes nodes;
    GraphMemory& memory;
  };

  const Profile& profile_;
  Budget& budget_;
  GraphMemory& memory_;
  std::map<std::uint64_t, std::shared_ptr<const Kept>> graphs_, instances_;
  std::uint64_t next_graph_ = 1, next_instance_ = 1;
};

}  // namespace drought
