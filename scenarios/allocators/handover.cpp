#include "scenarios/allocators/handover.hpp"

#include <vector>

#include "scenarios/device_calls.hpp"

namespace drought {

void Handover::run(Rig& rig) {
  {
    const Phase phase(rig, "first");
    std::vector<Buffer> blocks;
    for (std::size_t i = 0; i < options_.blocks; ++i) {
      blocks.emplace_back(rig.memory(), Request{.bytes = options_.block_bytes, .tag = "block"});
      must(rig.device().memset(blocks.back().data(), 1, 256), "cudaMemset");
    }
  }
  must(rig.device().synchronize(), "cudaDeviceSynchronize");
  {
    const Phase phase(rig, "second");
    const Buffer taken(rig.memory_named(options_.next), {.bytes = options_.next_bytes, .tag = "engine"});
    must(rig.device().memset(taken.data(), 2, 256), "cudaMemset");
    must(rig.device().synchronize(), "cudaDeviceSynchronize");
  }
  rig.ledger().mark_teardown({"block", "engine"});
}

}  // namespace drought
