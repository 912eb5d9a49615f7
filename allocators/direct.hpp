// Each allocate is one cudaMalloc and each deallocate one cudaFree: the end of most chains, and the
// allocator that every other one is meant to beat.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <tuple>

#include "harness/device/device.hpp"
#include "harness/memory/resource.hpp"

namespace drought {

class Direct final : public Resource {
 public:
  struct Options {
    static constexpr auto keys() { return std::tuple{}; }
  };

  /// `device` outlives this.
  Direct(Device& device, Options) : device_(device) {}

  /// A refusal leaves the device's last-error slot clean, unless the error is sticky. Alignment is the
  /// driver's, 256 bytes or better; a request for more than came is std::invalid_argument.
  void* allocate(Request request) override {
    if (request.bytes == 0) throw std::invalid_argument("direct: a request of no bytes");
    void* block = nullptr;
    const Status status = device_.malloc(block, request.bytes, request.tag);
    if (status != Status::success) (void)device_.take_last_error();
    if (status == Status::memory_allocation)
      throw OutOfMemory(request, "cudaMalloc answered cudaErrorMemoryAllocation");
    if (status != Status::success) throw DeviceError(status, "cudaMalloc");
    if (reinterpret_cast<std::uintptr_t>(block) % request.alignment != 0) {
      deallocate(block, request);
      throw std::invalid_argument("direct: cudaMalloc does not align to " +
                                  std::to_string(request.alignment));
    }
    return block;
  }

  /// A cudaFree that is refused leaves the block with the device and is counted, and its error stays
  /// in the last-error slot.
  void deallocate(void* block, Request request) noexcept override {
    const Status status = device_.free(block, request.tag);
    if (status == Status::success) return;
    ++refused_frees_;
    last_refusal_ = status;
  }

  std::size_t refused_frees() const { return refused_frees_; }
  /// What the last refused cudaFree answered; success when none was refused.
  Status last_refusal() const { return last_refusal_; }

 private:
  Device& device_;
  std::size_t refused_frees_ = 0;
  Status last_refusal_ = Status::success;
};

}  // namespace drought
