// Kernels on this machine's GPU, each at the shapes of served models: many launches in a row, divided.
#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "harness/device/device.hpp"
#include "kernels/prefill_attention.hpp"
#include "tests/bench/benches.hpp"

namespace drought {
namespace {

constexpr int kLaunches = 8;

/// A kernel's parts on a device, inputs filled.
class KernelOnDevice {
 public:
  KernelOnDevice(Device& device, const Kernel& kernel) : device_(device), kernel_(kernel) {
    std::vector<std::byte> host;
    const std::vector<Part> plan = kernel.plan();
    for (std::size_t i = 0; i < plan.size(); ++i) {
      void* lent = nullptr;
      if (plan[i].bytes != 0) ok_ = ok_ && device.malloc(lent, plan[i].bytes) == Status::success;
      lent_.push_back(lent);
      if (!ok_ || plan[i].bytes == 0) continue;
      host.assign(plan[i].bytes, std::byte{0});
      if (plan[i].role == Part::Role::input) kernel.fill(i, 1, host);
      ok_ = device.memcpy(lent, host.data(), host.size()) == Status::success;
    }
  }
  ~KernelOnDevice() {
    for (void* const lent : lent_) static_cast<void>(device_.free(lent));
  }
  KernelOnDevice(const KernelOnDevice&) = delete;

  bool run(int launches) {
    for (int i = 0; i < launches; ++i) ok_ = ok_ && kernel_.launch(device_, {}, lent_) == Status::success;
    return ok_ && device_.synchronize() == Status::success;
  }

 private:
  Device& device_;
  const Kernel& kernel_;
  std::vector<void*> lent_;
  bool ok_ = true;
};

void time_kernel(benchmark::State& state, const Kernel& kernel) {
  std::string why_not;
  const auto device = make_cuda_device(profile_named("h200"), {}, why_not);
  if (!device) return state.SkipWithError(why_not.c_str());
  KernelOnDevice call(*device, kernel);
  if (!call.run(3)) return state.SkipWithError("a call was refused");
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    if (!call.run(kLaunches)) return state.SkipWithError("a launch was refused");
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    state.SetIterationTime(spent.count() / kLaunches);
  }
  state.counters["TFLOP/s"] = benchmark::Counter(
      kernel.flops() * 1e-12 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace

// 16,384 tokens and 2,048 columns, as FlashAttention's own benchmarks have them.
void register_kernel_benches() {
  for (const std::size_t head_dim : {128, 64})
    for (const bool causal : {false, true})
      for (const std::size_t queries : {512, 2048, 4096, 16384})
        for (const char* const body : {"hopper", "portable"}) {
          const auto kernel =
              std::make_shared<PrefillAttention>(PrefillAttention::Shape{.batch = 16384 / queries,
                                                                         .queries = queries,
                                                                         .heads = 2048 / head_dim,
                                                                         .kv_heads = 2048 / head_dim,
                                                                         .head_dim = head_dim,
                                                                         .causal = causal,
                                                                         .body = body});
          const std::string name = std::string("prefill/") + body + "/D" + std::to_string(head_dim) +
                                   (causal ? "/causal/" : "/full/") + std::to_string(queries);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [kernel](benchmark::State& state) { time_kernel(state, *kernel); })
              ->UseManualTime()
              ->Unit(benchmark::kMicrosecond)
              ->MinTime(0.05);
        }
}

}  // namespace drought
