// A buffer that grows in place: one reserved range, pages mapped behind its end step by step, as PyTorch's
// expandable segments, vLLM's cumem allocator and llama.cpp's VMM pool do it. Each step asks how much is
// free, makes, maps, opens, fills and records its pages; a step that fails is taken back whole, page by page,
// because what it was told of may have happened all the same. No memory for a step ends the growth, and the
// buffer serves with what it has; any other error is thrown. Each page is read back at the end.
//
// Bugs: keeps_handle, the physical memory of a page whose mapping fails is forgotten (vLLM's cumem
// allocator); trusts_free_bytes, what cudaMemGetInfo said is taken for a promise, and no answer is looked at.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class GrowingMap final : public Workload {
 public:
  struct Options {
    std::size_t steps = 6;
    std::size_t pages = 4;           ///< Of each step.
    std::size_t page_bytes = 2_MiB;  ///< A multiple of the device's granularity.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("steps", &Options::steps), key("pages", &Options::pages),
                        key("page_bytes", &Options::page_bytes), key("bug", &Options::bug)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn_options[] = {{"steps", 1, 8}, {"pages", 1, 6}};
  static constexpr Drawn drawn{.options = drawn_options};

  /// Throws std::invalid_argument for a bug that is not known, or nothing to map.
  explicit GrowingMap(Options options);
  void run(Rig& rig) override;

 private:
  const Options options_;
};

}  // namespace drought
