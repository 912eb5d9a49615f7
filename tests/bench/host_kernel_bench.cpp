// Attention by simulated threads on one core: what tests and scenarios pay for a kernel that computes.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "kernels/decode_attention.hpp"
#include "kernels/prefill_attention.hpp"
#include "tests/bench/benches.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {
namespace {

void time_on_host(benchmark::State& state, const Kernel& kernel) {
  KernelMemory memory(kernel, 1);
  for (auto _ : state)
    if (memory.launch(1) != Status::success) return state.SkipWithError(host_launch_report().c_str());
  state.counters["GFLOP/s"] = benchmark::Counter(
      kernel.flops() * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void register_on_host(const std::string& name, std::shared_ptr<const Kernel> kernel) {
  benchmark::RegisterBenchmark(("kernels/host/" + name).c_str(), [kernel](benchmark::State& state) {
    time_on_host(state, *kernel);
  })->Unit(benchmark::kMillisecond);
}

}  // namespace

void register_host_kernel_benches() {
  for (const char* const type : {"bf16", "fp16", "fp32"})
    for (const std::size_t head_dim : {64, 128})
      register_on_host("prefill/" + std::string(type) + "/D" + std::to_string(head_dim) + "/full/512",
                       std::make_shared<PrefillAttention>(PrefillAttention::Shape{
                           .type = type, .queries = 512, .heads = 1, .head_dim = head_dim, .causal = false}));
  for (const char* const cache : {"bf16", "q8_0"})
    register_on_host("decode/" + std::string(cache) + "/D128/N4096",
                     std::make_shared<DecodeAttention>(DecodeAttention::Shape{
                         .cache = cache, .seqlens = {4096}, .heads = 16, .kv_heads = 1, .head_dim = 128}));
}

}  // namespace drought
