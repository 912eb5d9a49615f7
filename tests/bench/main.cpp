// The benchmarks' entry. Google Benchmark is a shared library on Debian, so they live in an executable of
// their own; `drought bench` starts it, and ci/bench sets its figures beside PyTorch's.
#include <benchmark/benchmark.h>

#include "tests/bench/benches.hpp"

int main(int argc, char** argv) {
  drought::register_allocator_benches();
  drought::register_trace_benches();
  drought::register_scenario_benches();
  drought::register_kernel_benches();
  drought::register_decode_benches();
  drought::register_host_kernel_benches();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const bool ran = benchmark::RunSpecifiedBenchmarks() != 0;
  benchmark::Shutdown();
  return ran ? 0 : 77;
}
