// Allocators that a fault exposes: each is sound while nothing fails and no memory changes by itself, and has
// one belief that production proved wrong.
#pragma once

#include <cstring>
#include <map>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/catalogues.hpp"

namespace drought {

/// Believes a cudaFree that says that it failed: keeps the block, and lends it again. `keeps` false: knows
/// better.
class BelievesFrees final : public Resource {
 public:
  BelievesFrees(Device& device, bool keeps) : device_(device), keeps_(keeps) {}
  ~BelievesFrees() override {
    for (const auto& [bytes, block] : kept_) (void)device_.free(block);
  }

  void* allocate(Request request) override {
    if (const auto found = kept_.find(request.bytes); found != kept_.end()) {
      void* const block = found->second;
      kept_.erase(found);
      return block;
    }
    void* block = nullptr;
    const Status status = device_.malloc(block, request.bytes, request.tag);
    if (status == Status::memory_allocation) throw OutOfMemory(request);
    if (status != Status::success) throw DeviceError(status, "cudaMalloc");
    return block;
  }
  void deallocate(void* block, Request request) noexcept override {
    const bool failed = device_.free(block, request.tag) != Status::success;
    (void)device_.take_last_error();
    if (failed && keeps_) kept_.emplace(request.bytes, block);
  }

 private:
  Device& device_;
  const bool keeps_;
  std::multimap<std::size_t, void*> kept_;
};

/// Blocks of one size from one slab. `inside`: each free block holds the address of the next one, as many
/// pools do to save memory; else a list on the host does. For the simulated device alone, whose memory this
/// process can read.
class ListsFreeBlocksSomewhere final : public Resource {
 public:
  static constexpr std::size_t kBlocks = 8, kBytes = std::size_t{1} << 20;

  ListsFreeBlocksSomewhere(Device& device, bool inside) : device_(device), inside_(inside) {
    void* slab = nullptr;
    if (device_.malloc(slab, kBlocks * kBytes) != Status::success) throw OutOfMemory({.bytes = kBytes});
    slab_ = static_cast<std::byte*>(slab);
    for (std::size_t i = kBlocks; i-- > 0;) push(slab_ + i * kBytes);
  }
  ~ListsFreeBlocksSomewhere() override { (void)device_.free(slab_); }

  void* allocate(Request request) override {
    if (!head_ || request.bytes > kBytes) throw OutOfMemory(request);
    void* const block = head_;
    if (inside_) {
      const auto* const at = static_cast<const std::byte*>(block);
      if (at < slab_ || at + sizeof head_ > slab_ + kBlocks * kBytes)
        throw OutOfMemory(request, "a wild list");
      std::memcpy(&head_, block, sizeof head_);
    } else {
      free_.pop_back();
      head_ = free_.empty() ? nullptr : free_.back();
    }
    return block;
  }
  void deallocate(void* block, Request) noexcept override { push(block); }

 private:
  void push(void* block) {
    if (inside_)
      std::memcpy(block, &head_, sizeof head_);
    else
      free_.push_back(block);
    head_ = block;
  }

  Device& device_;
  const bool inside_;
  std::byte* slab_ = nullptr;
  void* head_ = nullptr;
  std::vector<void*> free_;
};

/// The catalogue line of one of the above, with its belief or without.
template <typename Made, bool believes>
constexpr AllocatorEntry trusting(std::string_view name) {
  return {name, "a test's own",
          [](const Table&, Resource*, Device& device) -> std::unique_ptr<Resource> {
            return std::make_unique<Made>(device, believes);
          },
          false};
}

}  // namespace drought
