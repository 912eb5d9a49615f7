// How many short scenarios a core gets through: 100 allocations, 3 launches, 1 fault and every check, on a
// simulated device in shapes mode. The rig is made and closed for each, as `drought run` and a sweep do.
#include <benchmark/benchmark.h>

#include "scenarios/kernels/kernel_call.hpp"
#include "tests/bench/benches.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

/// Blocks come and go, 16 alive at once; a refused one is done without. Then a kernel runs three times.
class ShortStep final : public Workload {
 public:
  void run(Rig& rig) override {
    std::vector<Buffer> held(16);
    for (std::size_t i = 0; i < 100; ++i) {
      try {
        held[i % held.size()] = Buffer(rig.memory(), {.bytes = (i % 7 + 1) * 64_KiB, .tag = "block"});
      } catch (const OutOfMemory&) {
        rig.record().fallbacks.emplace_back("without a block");
      }
    }
    held.clear();
    const auto kernel = find_entry(rig.catalogues().kernels, "checksum")->make(Table("bench", {}));
    for (std::uint64_t i = 0; i < 3; ++i) {
      KernelCall call(rig, *kernel, {});
      call.fill(i);
      call.launch();
      call.verify();
    }
    rig.ledger().mark_teardown({"block"});
  }
};

void run_short(benchmark::State& state) {
  const TestCatalogues with({workload_line<ShortStep>("short_step")});
  const Catalogues catalogues = with.catalogues();
  const Scenario scenario = scenario_of(R"(
[device]
work = 'shapes'
[[resource]]
kind = 'caching'
[workload]
kind = 'short_step'
[[fault]]
kind = 'out_of_memory'
when = { site = 'allocate', resource = 'caching', nth = 50 }
)",
                                        catalogues);
  std::uint64_t seed = 0;
  for (auto _ : state) {
    const RunResult result = run_scenario(scenario, catalogues, {.seed = ++seed});
    if (result.verdict != Verdict::survived) return state.SkipWithError(result.why.c_str());
  }
  state.counters["a minute"] =
      benchmark::Counter(60.0 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace

void register_scenario_benches() { benchmark::RegisterBenchmark("scenario/short", run_short); }

}  // namespace drought
