// The smallest kernels there are: one byte read or written, at once or after a while. They show what an
// address is worth to a kernel, on both lanes. The launches are not declared, so nothing judges them
// before the device does.
#pragma once

#include <cstdint>

#include "harness/device/cuda_probe.hpp"
#include "harness/device/device.hpp"

namespace drought {

/// How the probe is launched.
struct ProbeShape {
  Dim3 grid{1, 1, 1}, block{32, 1, 1};
  std::size_t shared_bytes = 0;
};

Status probe_touch(Device& device, const CudaTouch& what, Stream stream = {}, const ProbeShape& shape = {});
Status probe_read(Device& device, const void* address, Stream stream = {});
Status probe_write(Device& device, void* address, std::uint8_t value, Stream stream = {});
/// Still runs when the call returns: 0.1 s of an H200 at 1.98 GHz, or until the host lane's seed retires it.
Status probe_write_late(Device& device, void* address, std::uint8_t value, Stream stream = {});

}  // namespace drought
