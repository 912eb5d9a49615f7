#include "tests/bench/gpu_bench.hpp"

#include <algorithm>
#include <vector>

namespace drought {
namespace {

constexpr int kSamples = 21;

std::unique_ptr<Device> make_gpu(std::string& why_not) {
  return make_cuda_device(profile_named("h200"), {}, why_not);
}

}  // namespace

std::unique_ptr<Device> bench_gpu(benchmark::State& state) {
  std::string why_not;
  auto device = make_gpu(why_not);
  if (!device) state.SkipWithError(why_not.c_str());
  return device;
}

void report_median(benchmark::State& state, const std::function<std::optional<double>()>& seconds,
                   const Amount& amount) {
  std::vector<double> taken;
  for (int i = 0; i < 3 + kSamples; ++i) {  // The first three load the kernel and wake the chip.
    const std::optional<double> spent = seconds();
    if (!spent) return state.SkipWithError("a launch was refused");
    if (i >= 3) taken.push_back(*spent);
  }
  const auto median = taken.begin() + kSamples / 2;
  std::nth_element(taken.begin(), median, taken.end());
  for (auto _ : state) state.SetIterationTime(*median);
  state.counters[amount.unit] = amount.count / *median;
}

void register_gpu_kernel(const std::string& name, const std::function<void(benchmark::State&)>& run) {
  static const bool has_gpu = [] {
    std::string why_not;
    return make_gpu(why_not) != nullptr;
  }();
  if (!has_gpu) return;
  benchmark::RegisterBenchmark(("kernels/gpu/" + name).c_str(), run)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond)
      ->Iterations(1);
}

}  // namespace drought
