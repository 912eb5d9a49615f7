#include "harness/memory/graph_uses.hpp"

#include <algorithm>

namespace drought {

void GraphUses::completed(const Call& call) {
  if (call.graph == 0) return;
  if (call.site == Site::cudaGraphInstantiate) {
    Use& use = graphs_[call.graph];
    if (use.instances++ > 0) return;
    for (const Operand& operand : call.operands) {
      const auto begin = reinterpret_cast<std::uintptr_t>(operand.data);
      use.ranges.push_back({begin, begin + operand.bytes});
    }
  }
  if (call.site == Site::cudaGraphExecDestroy) {
    const auto found = graphs_.find(call.graph);
    if (found != graphs_.end() && --found->second.instances == 0) graphs_.erase(found);
  }
}

std::vector<std::string> GraphUses::users_of(std::uintptr_t begin, std::uintptr_t end) const {
  std::vector<std::string> users;
  for (const auto& [id, use] : graphs_)
    if (std::any_of(use.ranges.begin(), use.ranges.end(),
                    [&](const Range& range) { return range.begin < end && begin < range.end; }))
      users.push_back("graph " + std::to_string(id));
  return users;
}

}  // namespace drought
