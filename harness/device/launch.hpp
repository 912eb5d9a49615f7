// A launch as a device sees it: geometry, the ranges it declares to read and write, and one body
// for each lane. Kernels build it (harness/simt/kernel.hpp); the ledger judges the operands.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "harness/device/status.hpp"
#include "harness/memory/resource.hpp"

namespace drought {

enum class Access : unsigned char { read, write, read_write };

/// A range that a launch, copy or fill touches. `name` lives as long as the launch.
struct Operand {
  std::string_view name;
  const void* data = nullptr;
  std::size_t bytes = 0;  ///< 0 with a null pointer declares an absent operand.
  Access access = Access::read;
  bool may_be_host = false;  ///< A side of a copy: any host memory will do, known to the ledger or not.
};

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr std::size_t volume() const { return std::size_t{x} * y * z; }
};

struct Launch;

/// Runs every block of the grid to its end on this machine, on simulated threads.
/// success, or illegal_address when a thread touched memory outside its declared operands.
using HostBody = Status (*)(const Launch& launch);

/// Enqueues the kernel on `stream` (a cudaStream_t) and answers what the launch answered.
using CudaBody = Status (*)(const Launch& launch, void* stream);

struct Launch {
  std::string_view kernel;
  Dim3 grid{}, block{};
  std::size_t shared_bytes = 0;
  Stream stream{};
  std::span<const Operand> operands;
  bool declared = true;             ///< false: a probe of the driver, which the ledger does not judge.
  const void* arguments = nullptr;  ///< Trivially copyable; copied when the launch is enqueued.
  std::size_t arguments_bytes = 0;
  HostBody host = nullptr;
  CudaBody cuda = nullptr;  ///< Null in a build without nvcc.
};

}  // namespace drought
