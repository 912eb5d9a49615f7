#include "harness/device/cuda_peer.hpp"

#include <string>
#include <vector>

#include "harness/device/cuda_driver.hpp"

namespace drought {
namespace {

struct Held {
  void* block;
  std::size_t bytes;
};

/// Gives back blocks, the newest first, while more than `bytes` are held; then takes what is missing.
Status hold(std::vector<Held>& held, std::size_t bytes) {
  std::size_t sum = 0;
  for (const Held& one : held) sum += one.bytes;
  while (sum > bytes) {
    const Status freed = as_status(cudaFree(held.back().block));
    if (freed != Status::success) return freed;
    sum -= held.back().bytes;
    held.pop_back();
  }
  // A call of nothing makes the context, which a peer that holds 0 bytes has as well.
  if (sum == bytes) return as_status(cudaFree(nullptr));
  Held missing{nullptr, bytes - sum};
  const Status taken = as_status(cudaMalloc(&missing.block, missing.bytes));
  if (taken == Status::success) held.push_back(missing);
  return taken;
}

}  // namespace

int run_cuda_peer(std::istream& input, std::ostream& record) {
  int count = 0;
  if (as_status(cudaGetDeviceCount(&count)) != Status::success || count == 0) return 77;
  // The process's end gives all of it back, as it does when the process is killed.
  std::vector<Held> held;
  std::string verb;
  std::size_t bytes = 0;
  while (input >> verb >> bytes) {
    if (verb != "hold") return 2;
    const Status status = hold(held, bytes);
    if (status != Status::success && status != Status::memory_allocation) return 1;
    record << (status == Status::success ? "ok" : "oom") << std::endl;
  }
  return input.eof() ? 0 : 2;
}

}  // namespace drought
