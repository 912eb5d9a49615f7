#include "tests/probe.hpp"

namespace drought {
namespace {

constexpr std::uint64_t long_cycles = 200'000'000;

std::uint64_t number_of(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

// The null pointers that UndefinedBehaviorSanitizer would report are what the probe is for.
__attribute__((no_sanitize("null"))) Status touch_on_host(const Launch& launch) {
  const CudaTouch& what = *static_cast<const CudaTouch*>(launch.arguments);
  auto* const byte = reinterpret_cast<volatile std::uint8_t*>(what.address);
  if (what.write) {
    *byte = what.value;
  } else if (byte) {
    static_cast<void>(*byte);
  }
  return Status::success;
}

}  // namespace

Status probe_touch(Device& device, const CudaTouch& what, Stream stream, const ProbeShape& shape) {
  const Operand touched{"touched", reinterpret_cast<const void*>(what.address), 1,
                        what.write ? Access::write : Access::read};
  return device.launch({.kernel = "probe",
                        .grid = shape.grid,
                        .block = shape.block,
                        .shared_bytes = shape.shared_bytes,
                        .stream = stream,
                        .operands = {&touched, 1},
                        .declared = false,
                        .arguments = &what,
                        .arguments_bytes = sizeof what,
                        .host = touch_on_host,
                        .cuda = cuda_touch});
}

Status probe_read(Device& device, const void* address, Stream stream) {
  return probe_touch(device, {.address = number_of(address)}, stream);
}

Status probe_write(Device& device, void* address, std::uint8_t value, Stream stream) {
  return probe_touch(device, {.address = number_of(address), .write = true, .value = value}, stream);
}

Status probe_write_late(Device& device, void* address, std::uint8_t value, Stream stream) {
  return probe_touch(
      device, {.address = number_of(address), .cycles = long_cycles, .write = true, .value = value}, stream);
}

}  // namespace drought
