// The device side of the probe: nvcc compiles this file and no other of the probe's.
#include "harness/device/cuda_probe.hpp"

namespace drought {
namespace {

__global__ void touch(CudaTouch what) {
  if (threadIdx.x != 0 || blockIdx.x != 0) return;
  const long long start = clock64();
  while (static_cast<std::uint64_t>(clock64() - start) < what.cycles) {
  }
  auto* const byte = reinterpret_cast<volatile std::uint8_t*>(what.address);
  if (!byte && !what.write) return;
  if (what.write)
    *byte = what.value;
  else
    (void)*byte;
}

}  // namespace

Status cuda_touch(const Launch& launch, void* stream) {
  CudaTouch what = *static_cast<const CudaTouch*>(launch.arguments);
  void* arguments[] = {&what};
  const dim3 grid(launch.grid.x, launch.grid.y, launch.grid.z);
  const dim3 block(launch.block.x, launch.block.y, launch.block.z);
  const auto queue = static_cast<cudaStream_t>(stream);
  const auto status = static_cast<Status>(cudaLaunchKernel(reinterpret_cast<const void*>(&touch), grid, block,
                                                           arguments, launch.shared_bytes, queue));
  if (status == Status::success && what.waits) (void)cudaStreamSynchronize(queue);
  return status;
}

}  // namespace drought
