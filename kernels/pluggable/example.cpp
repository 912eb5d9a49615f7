// A user's kernel as drought takes it: out = 2 x + y. `example` is right. The others have one defect each, as
// kernels have had; scenarios that use them must catch it. example_cuda.cu has the GPU's side.
#include <cmath>
#include <cstdint>

#include "kernels/pluggable/drought_kernel.h"

namespace {

int plan(const DroughtSizes* sizes, DroughtPart* parts) {
  if (sizes->count != 1 || sizes->value[0] == 0) return 0;
  parts[0] = {"x", sizes->value[0], DROUGHT_FP32, DROUGHT_INPUT};
  parts[1] = {"y", sizes->value[0], DROUGHT_FP32, DROUGHT_INPUT};
  parts[2] = {"out", sizes->value[0], DROUGHT_FP32, DROUGHT_OUTPUT};
  return 3;
}

int add(std::uint64_t elements, void* const* parts) {
  const auto* const x = static_cast<const float*>(parts[0]);
  const auto* const y = static_cast<const float*>(parts[1]);
  for (std::uint64_t i = 0; i < elements; ++i) static_cast<float*>(parts[2])[i] = 2 * x[i] + y[i];
  return 0;
}

// 2 x is exact, so there is one rounding.
void oracle(const DroughtSizes* sizes, const void* const* parts, double* expected, double* tolerance) {
  for (std::uint64_t i = 0; i < sizes->value[0]; ++i) {
    expected[i] = 2.0 * static_cast<const float*>(parts[0])[i] + static_cast<const float*>(parts[1])[i];
    tolerance[i] = std::abs(expected[i]) * 0x1p-24;
  }
}

}  // namespace

extern "C" {

int example_plan(const DroughtSizes* sizes, DroughtPart* parts) { return plan(sizes, parts); }
int example_host(const DroughtSizes* sizes, void* const* parts) { return add(sizes->value[0], parts); }
void example_oracle(const DroughtSizes* sizes, const void* const* parts, std::uint32_t, double* expected,
                    double* tolerance) {
  oracle(sizes, parts, expected, tolerance);
}

/// Leaves the last element unwritten, as a grid that is rounded down does.
int short_plan(const DroughtSizes* sizes, DroughtPart* parts) { return plan(sizes, parts); }
int short_host(const DroughtSizes* sizes, void* const* parts) { return add(sizes->value[0] - 1, parts); }
void short_oracle(const DroughtSizes* sizes, const void* const* parts, std::uint32_t, double* expected,
                  double* tolerance) {
  oracle(sizes, parts, expected, tolerance);
}

/// Goes on past the end, as a grid that is rounded up does without a bound.
int long_plan(const DroughtSizes* sizes, DroughtPart* parts) { return plan(sizes, parts); }
int long_host(const DroughtSizes* sizes, void* const* parts) { return add(sizes->value[0] + 64, parts); }
void long_oracle(const DroughtSizes* sizes, const void* const* parts, std::uint32_t, double* expected,
                 double* tolerance) {
  oracle(sizes, parts, expected, tolerance);
}

}  // extern "C"
