// Which ranges instantiated graphs will touch when they are launched, so that the ledger can say of a
// block that a graph uses it. A graph owns nothing: its memory may be freed and given to somebody else
// under it, and the replay goes to the old addresses all the same (ggml-org/llama.cpp 26738).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/device/call.hpp"

namespace drought {

class GraphUses {
 public:
  bool empty() const { return graphs_.empty(); }
  /// After a call that answered success.
  void completed(const Call& call);
  /// "graph 3", for each graph with an instance and an operand in the range, by rising number.
  std::vector<std::string> users_of(std::uintptr_t begin, std::uintptr_t end) const;

 private:
  struct Range {
    std::uintptr_t begin = 0, end = 0;
  };
  struct Use {
    std::size_t instances = 0;
    std::vector<Range> ranges;
  };
  std::map<std::uint64_t, Use> graphs_;
};

}  // namespace drought
