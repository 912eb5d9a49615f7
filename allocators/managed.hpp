// Each allocate is one cudaMallocManaged: addresses without memory, which the device fills with pages as
// its work touches them. A request larger than the device succeeds, and what that costs shows only when it
// is used (llama.cpp PR 22158 offered it as the way out of an out of memory). prefetch moves a block to
// the device at once, in the request's stream.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <tuple>

#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Managed final : public Resource {
 public:
  struct Options {
    bool prefetch = false;
    static constexpr auto keys() { return std::tuple{key("prefetch", &Options::prefetch)}; }
  };

  /// `device` outlives this.
  Managed(Device& device, Options options) : device_(device), prefetch_(options.prefetch) {}

  /// A refusal leaves the device's last-error slot clean, unless the error is sticky. Alignment is the
  /// driver's, 256 bytes or better; a request for more than came is std::invalid_argument.
  void* allocate(Request request) override {
    if (request.bytes == 0) throw std::invalid_argument("managed: a request of no bytes");
    lent_.reserve_one();
    void* block = nullptr;
    const Status status = device_.malloc_managed(block, request.bytes, request.tag);
    if (status != Status::success) (void)device_.take_last_error();
    if (status == Status::memory_allocation)
      throw OutOfMemory(request, "cudaMallocManaged answered cudaErrorMemoryAllocation");
    if (status != Status::success) throw DeviceError(status, "cudaMallocManaged");
    if (reinterpret_cast<std::uintptr_t>(block) % request.alignment != 0) {
      (void)device_.free(block, request.tag);
      throw std::invalid_argument("managed: cudaMallocManaged does not align to " +
                                  std::to_string(request.alignment));
    }
    lent_.insert(reinterpret_cast<std::uintptr_t>(block), true);
    if (prefetch_) prefetch(block, request);
    return block;
  }

  void deallocate(void* block, Request request) noexcept override {
    bool* const known = lent_.find(reinterpret_cast<std::uintptr_t>(block));
    if (known) lent_.erase(known);
    if (!known || device_.free(block, request.tag) != Status::success) ++refused_frees_;
  }

  /// Blocks that deallocate did not know and left alone, and frees that the device refused.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  void prefetch(void* block, const Request& request) {
    const Status status = device_.mem_prefetch(block, request.bytes, Residence::device, request.stream);
    if (status == Status::success) return;
    (void)device_.take_last_error();
    deallocate(block, request);
    throw DeviceError(status, "cudaMemPrefetchAsync");
  }

  Device& device_;
  const bool prefetch_;
  AddressTable<bool> lent_;
  std::size_t refused_frees_ = 0;
};

}  // namespace drought
