// The pinned block through which file contents go to the device, and the registration of a range of host
// memory: two things of the device that end with their owner.
#pragma once

#include <utility>

#include "scenarios/device_calls.hpp"

namespace drought {

class PinnedStage {
 public:
  /// Throws DeviceError. `device` outlives this.
  PinnedStage(Device& device, std::size_t bytes) : device_(device), bytes_(bytes) {
    void* made = nullptr;
    must(device.malloc_host(made, bytes, "stage"), "cudaMallocHost");
    data_ = static_cast<std::byte*>(made);
  }
  ~PinnedStage() { (void)device_.free_host(data_); }
  PinnedStage(const PinnedStage&) = delete;
  PinnedStage& operator=(const PinnedStage&) = delete;
  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  Device& device_;
  std::byte* data_ = nullptr;
  std::size_t bytes_;
};

/// Read-only registration of [begin, begin + bytes). Move-only.
class Registration {
 public:
  /// An empty one and `status` when the device refuses; its last-error slot is left clean then.
  Registration(Device& device, const std::byte* begin, std::size_t bytes, Status& status) : device_(&device) {
    status = device.host_register(begin, bytes, {.mapped = true, .read_only = true});
    if (status == Status::success) {
      begin_ = begin;
    } else {
      (void)device.take_last_error();
    }
  }
  Registration(Registration&& other) noexcept : device_(other.device_), begin_(other.begin_) {
    other.begin_ = nullptr;
  }
  Registration& operator=(Registration&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(begin_, other.begin_);
    return *this;
  }
  ~Registration() {
    if (begin_) (void)device_->host_unregister(begin_);
  }

 private:
  Device* device_;
  const std::byte* begin_ = nullptr;
};

}  // namespace drought
