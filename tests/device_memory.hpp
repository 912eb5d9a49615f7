// The parts of one kernel in memory that a device lends, and what the host holds of them beside; the device
// of a lane; and the two questions that every kernel is asked there.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/simt/host_block.hpp"
#include "harness/simt/kernel.hpp"

namespace drought {

/// A kernel's parts in memory of a device, with what the host holds of them beside.
class DeviceMemory {
 public:
  DeviceMemory(Device& device, const Kernel& kernel, std::uint64_t seed = 41)
      : device_(device), kernel_(kernel), plan_(kernel.plan()) {
    for (const Part& part : plan_) {
      void* lent = nullptr;
      if (part.bytes != 0) {
        EXPECT_EQ(device_.malloc(lent, part.bytes), Status::success);
      }
      lent_.push_back(lent);
      host_.emplace_back(part.bytes, std::byte{0xff});
      const bool input = part.role == Part::Role::input;
      if (input && part.bytes != 0) kernel.fill(host_.size() - 1, seed, host_.back());
    }
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    for (void* const lent : lent_) EXPECT_EQ(device_.free(lent), Status::success);
  }

  /// Inputs as filled and all else poisoned, one launch, outputs back on the host.
  void run() {
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      if (plan_[i].bytes == 0) continue;
      const std::byte filling{plan_[i].zeroed ? std::uint8_t{0} : std::uint8_t{0xff}};
      if (plan_[i].role != Part::Role::input) std::fill(host_[i].begin(), host_[i].end(), filling);
      ASSERT_EQ(device_.memcpy(lent_[i], host_[i].data(), plan_[i].bytes), Status::success);
    }
    ASSERT_EQ(kernel_.launch(device_, {}, lent_), Status::success) << host_launch_report();
    ASSERT_EQ(device_.synchronize(), Status::success) << host_launch_report();
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      if (plan_[i].role != Part::Role::output) continue;
      ASSERT_EQ(device_.memcpy(host_[i].data(), lent_[i], plan_[i].bytes), Status::success);
    }
  }

  Comparison compare() const {
    return kernel_.compare({std::vector<std::span<const std::byte>>(host_.begin(), host_.end())});
  }
  /// Where the device has each part.
  const std::vector<void*>& parts() const { return lent_; }
  /// Every part as the host has it; what is changed in an input is there at the next run.
  std::vector<std::vector<std::byte>>& host() { return host_; }
  const std::vector<std::vector<std::byte>>& host() const { return host_; }

 private:
  Device& device_;
  const Kernel& kernel_;
  std::vector<Part> plan_;
  std::vector<void*> lent_;
  std::vector<std::vector<std::byte>> host_;
};

inline void expect_right_twice(Device& device, const Kernel& kernel, const std::string& text) {
  SCOPED_TRACE(text);
  DeviceMemory memory(device, kernel);
  memory.run();
  const Comparison comparison = memory.compare();
  EXPECT_TRUE(comparison.within) << comparison.text;
  const auto first = memory.host();
  memory.run();
  EXPECT_EQ(memory.host(), first) << "two runs differ";
}

/// Null, and why, where the lane is not on this machine.
inline std::unique_ptr<Device> device_of(Lane lane, std::string& why_not) {
  return lane == Lane::host ? make_host_device(profile_named("h200"), {})
                            : make_cuda_device(profile_named("h200"), {}, why_not);
}

}  // namespace drought
