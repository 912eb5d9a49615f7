// One allocate and free that the allocator serves from what it holds, for each of the catalogue, bare and
// under an account: the difference is what the ledger costs.
#include <benchmark/benchmark.h>

#include <utility>
#include <vector>

#include "allocators/catalogue.hpp"
#include "tests/bench/benches.hpp"
#include "tests/conformance.hpp"

namespace drought {
namespace {

// The sizes of a transformer layer's temporaries, so that the search goes through several classes.
constexpr std::size_t kSizes[] = {512, 4_KiB, 20_KiB, 512_KiB, 3_MiB, 12_MiB, 1_MiB + 512, 64_KiB};

enum class Through { allocator, account };

void cached_pair(benchmark::State& state, const AllocatorEntry& entry, Through through) {
  ChainRig chain(entry, 1);
  chain.rig().plan().keep_points(false);  // As a plain run has it.
  chain.start();
  Resource& memory = through == Through::account ? chain.memory() : chain.allocator();
  const auto pair = [&](std::size_t bytes) {
    const Request request{.bytes = bytes};
    void* const block = memory.allocate(request);
    benchmark::DoNotOptimize(block);
    memory.deallocate(block, request);
  };
  std::size_t i = 0;
  std::vector<std::pair<void*, Request>> held;
  try {
    for (std::int64_t block = 0; block < state.range(0); ++block) {
      const Request request{.bytes = 2_KiB};
      held.emplace_back(memory.allocate(request), request);
    }
    for (std::size_t bytes : kSizes) pair(bytes);
    for (auto _ : state) pair(kSizes[i++ % std::size(kSizes)]);
  } catch (const OutOfMemory& refusal) {
    state.SkipWithError(refusal.what());
  }
  for (const auto& [block, request] : held) memory.deallocate(block, request);
}

}  // namespace

void register_allocator_benches() {
  for (const AllocatorEntry& entry : allocator_catalogue())
    for (Through through : {Through::allocator, Through::account}) {
      const std::string name = (through == Through::account ? "account/" : "pair/") + std::string(entry.name);
      benchmark::RegisterBenchmark(
          name.c_str(), [&entry, through](benchmark::State& state) { cached_pair(state, entry, through); })
          ->ArgName("live")
          ->Arg(0)
          ->Arg(1000);
    }
}

}  // namespace drought
