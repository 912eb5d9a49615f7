// Sixteen bytes a thread and eight loads at a time, over as many blocks as run at once.
#include "tests/bench/read_bandwidth.hpp"

namespace drought {
namespace {

constexpr int kThreads = 512, kBlocks = 132 * 4, kLoads = 8;

__global__ void __launch_bounds__(kThreads) read(const float4* data, std::size_t count, float* sink) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * kThreads;
  float sum = 0;
  const auto add = [&](float4 read) { sum += read.x + read.y + read.z + read.w; };
  std::size_t i = blockIdx.x * kThreads + threadIdx.x;
  // No load hangs on a comparison, so that all of a batch are under way together.
  for (; i + (kLoads - 1) * stride < count; i += kLoads * stride) {
    float4 read[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) read[j] = __ldcs(data + i + j * stride);
#pragma unroll
    for (int j = 0; j < kLoads; ++j) add(read[j]);
  }
  for (; i < count; i += stride) add(__ldcs(data + i));
  if (sum == 1.2345f) *sink = sum;  // Never, but the loads must not be dropped.
}

}  // namespace

bool enqueue_read(const void* data, std::size_t bytes, float* sink) {
  read<<<kBlocks, kThreads>>>(static_cast<const float4*>(data), bytes / 16, sink);
  return cudaGetLastError() == cudaSuccess;
}

}  // namespace drought
