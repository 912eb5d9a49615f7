// What kernels on this machine's GPU have in common when they are measured: their names, and that the median
// of several launches is the figure.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "harness/device/device.hpp"

namespace drought {

/// What one launch gets done, in billions of `unit` (GB for "GB/s").
struct Amount {
  const char* unit;
  double count;
};

/// Null, and the bench skipped, where there is none.
std::unique_ptr<Device> bench_gpu(benchmark::State& state);

/// Measures `seconds` of one launch several times. It answers nothing when a launch was refused.
void report_median(benchmark::State& state, const std::function<std::optional<double>()>& seconds,
                   const Amount& amount);

/// Registers "kernels/gpu/NAME"; nothing on a machine without a GPU.
void register_gpu_kernel(const std::string& name, const std::function<void(benchmark::State&)>& run);

}  // namespace drought
