#include "scenarios/allocators/handover.hpp"

#include <stdexcept>
#include <vector>

#include "harness/memory/interfaces.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

Trims& cache_of(Rig& rig) {
  if (auto* const cache = dynamic_cast<Trims*>(&rig.allocator())) return *cache;
  throw std::invalid_argument("handover: trims is set, and the allocator keeps nothing that it could trim");
}

}  // namespace

void Handover::run(Rig& rig) {
  Trims* const cache = options_.trims ? &cache_of(rig) : nullptr;
  {
    const Phase phase(rig, "first");
    std::vector<Buffer> blocks;
    for (std::size_t i = 0; i < options_.blocks; ++i) {
      blocks.emplace_back(rig.memory(), Request{.bytes = options_.block_bytes, .tag = "block"});
      must(rig.device().memset(blocks.back().data(), 1, 256), "cudaMemset");
    }
    blocks.clear();
    if (cache) cache->trim();
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
