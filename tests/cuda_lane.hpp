// Where every test of the cuda lane begins: GPU 0 without a cap, its first launch behind it, or a skip
// that says why there is none.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness/device/cuda_probe.hpp"
#include "harness/device/device.hpp"

namespace drought {

inline constexpr std::uint64_t kLongCycles = 200'000'000;  // About 0.1 s of an H200 at 1.98 GHz.

inline std::unique_ptr<Device> device_of(std::string& why_not, std::size_t capacity_bytes = 0) {
  return make_cuda_device(profile_named("h200"), {.capacity_bytes = capacity_bytes}, why_not);
}

inline Status touch(Device& device, CudaTouch what, Stream stream = {}, unsigned threads = 32) {
  return device.launch({.kernel = "touch",
                        .grid = {1, 1, 1},
                        .block = {threads, 1, 1},
                        .stream = stream,
                        .declared = false,
                        .arguments = &what,
                        .arguments_bytes = sizeof what,
                        .cuda = cuda_touch});
}

inline std::uint64_t address(const void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); }

class CudaLane : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    device_ = device_of(why_not);
    if (!device_) GTEST_SKIP() << why_not;
    // The first launch takes memory of its own, which would blur every difference below.
    ASSERT_EQ(touch(*device_, {}), Status::success);
    ASSERT_EQ(device_->synchronize(), Status::success);
  }

  std::unique_ptr<Device> capped(std::size_t bytes) {
    std::string why_not;
    auto device = device_of(why_not, bytes);
    EXPECT_TRUE(device) << why_not;
    return device;
  }

  static std::size_t free_bytes(Device& device) {
    MemInfo info;
    EXPECT_EQ(device.mem_info(info), Status::success);
    return info.free_bytes;
  }

  void* block(std::size_t bytes) {
    void* out = nullptr;
    EXPECT_EQ(device_->malloc(out, bytes), Status::success);
    return out;
  }

  std::vector<std::uint8_t> read(const void* from, std::size_t bytes) {
    std::vector<std::uint8_t> host(bytes);
    EXPECT_EQ(device_->memcpy(host.data(), from, bytes), Status::success);
    EXPECT_EQ(device_->synchronize(), Status::success);
    return host;
  }

  std::unique_ptr<Device> device_;
};

}  // namespace drought
