// Managed memory on the simulated device: pages come when they are touched, the oldest go when there is
// no room, and the bytes that cross the link are counted.
#include <gtest/gtest.h>

#include "allocators/managed.hpp"
#include "harness/memory/bytes.hpp"
#include "tests/host_lane.hpp"

namespace drought {
namespace {

class ManagedMemory : public testing::Test {
 protected:
  void* managed(std::size_t bytes) {
    void* out = nullptr;
    EXPECT_EQ(device_->malloc_managed(out, bytes), Status::success);
    return out;
  }
  void touch(void* block, std::size_t bytes) {
    EXPECT_EQ(device_->memset(block, 1, bytes), Status::success);
    EXPECT_EQ(device_->synchronize(), Status::success);
  }
  ManagedTraffic traffic() const { return *device_->managed_traffic(); }
  std::size_t free_bytes() {
    MemInfo info;
    EXPECT_EQ(device_->mem_info(info), Status::success);
    return info.free_bytes;
  }
  /// Leaves exactly `bytes` of the device free.
  void leave(std::size_t bytes) {
    void* out = nullptr;
    EXPECT_EQ(device_->malloc(out, round_down(free_bytes() - bytes, 2_MiB)), Status::success);
  }

  std::unique_ptr<Device> device_ =
      make_host_device(profile_named("h200"), {.work = Device::Work::shapes, .capacity_bytes = 4_GiB});
};

TEST_F(ManagedMemory, TakesNothingBeforeItIsTouchedAndGivesAllBackWhenItIsFreed) {
  const std::size_t before = free_bytes();
  void* const block = managed(1_GiB);
  EXPECT_EQ(free_bytes(), before);
  touch(block, 300_MiB);
  EXPECT_EQ(before - free_bytes(), 384_MiB);
  EXPECT_EQ(traffic().faulted_bytes, 300_MiB);
  touch(block, 300_MiB);
  EXPECT_EQ(traffic().faulted_bytes, 300_MiB) << "pages that were there came again";
  EXPECT_EQ(device_->free(block), Status::success);
  EXPECT_EQ(free_bytes(), before);
  EXPECT_EQ(device_->held_bytes(), 0u);
}

TEST_F(ManagedMemory, SendsAwayThePageThatWasTouchedLongestAgo) {
  leave(128_MiB);
  void* const first = managed(64_MiB);
  void* const second = managed(64_MiB);
  void* const third = managed(2_MiB);
  touch(first, 64_MiB);
  touch(second, 64_MiB);
  EXPECT_EQ(traffic().evicted_bytes, 0u);
  touch(first, 2_MiB);  // So that the oldest is the first block's second page.
  touch(third, 2_MiB);
  EXPECT_EQ(traffic().evicted_bytes, 2_MiB);
  const std::size_t faulted = traffic().faulted_bytes;
  touch(first, 2_MiB);
  touch(second, 64_MiB);
  EXPECT_EQ(traffic().faulted_bytes, faulted) << "what was touched last had gone";
}

TEST_F(ManagedMemory, ThrashesWhenAWorkingSetAboveTheDeviceIsPassedOverInOrder) {
  leave(128_MiB);
  void* const block = managed(192_MiB);
  for (int pass = 0; pass < 3; ++pass) touch(block, 192_MiB);
  // Least recently used is the worst order here: every page has gone when it is touched again.
  EXPECT_EQ(traffic().faulted_bytes, 3 * 192_MiB);
  EXPECT_EQ(traffic().evicted_bytes, 3 * 192_MiB - 128_MiB);
}

TEST_F(ManagedMemory, IsTouchedWhereItLiesWhenTheDeviceHasNoPageToSpare) {
  leave(0);
  void* const block = managed(64_MiB);
  touch(block, 64_MiB);
  EXPECT_EQ(traffic().remote_bytes, 64_MiB);
  EXPECT_EQ(traffic().faulted_bytes, 0u);
}

TEST_F(ManagedMemory, MakesWayForCudaMalloc) {
  void* const block = managed(2_GiB);
  touch(block, 2_GiB);
  const std::size_t room = round_down(free_bytes(), 2_MiB);
  void* out = nullptr;
  EXPECT_EQ(device_->malloc(out, room + 1_GiB), Status::success);
  EXPECT_EQ(traffic().evicted_bytes, 1_GiB);
  EXPECT_EQ(device_->malloc(out, 2_GiB), Status::memory_allocation);
  EXPECT_EQ(traffic().evicted_bytes, 1_GiB) << "pages went for a request that could not be met";
}

TEST_F(ManagedMemory, IsPrefetchedEitherWayAndCountedOnce) {
  void* const block = managed(64_MiB);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(device_->mem_prefetch(block, 64_MiB, Residence::device), Status::success);
  EXPECT_EQ(device_->synchronize(), Status::success);
  touch(block, 64_MiB);
  EXPECT_EQ(traffic().prefetched_bytes, 64_MiB);
  EXPECT_EQ(traffic().faulted_bytes, 0u);
  EXPECT_EQ(device_->mem_prefetch(block, 64_MiB, Residence::host), Status::success);
  EXPECT_EQ(device_->synchronize(), Status::success);
  EXPECT_EQ(traffic().prefetched_bytes, 128_MiB);
  EXPECT_EQ(device_->held_bytes(), 0u);
  EXPECT_EQ(device_->mem_prefetch(block, 65_MiB, Residence::host), Status::invalid_value);
}

TEST_F(ManagedMemory, HoldsWhatIsWrittenToItOnADeviceThatComputes) {
  const auto device = h200();
  void* block = nullptr;
  ASSERT_EQ(device->malloc_managed(block, 4_MiB), Status::success);
  ASSERT_EQ(device->memset(block, 7, 4_MiB), Status::success);
  ASSERT_EQ(device->synchronize(), Status::success);
  EXPECT_EQ(static_cast<const std::uint8_t*>(block)[4_MiB - 1], 7);
  ASSERT_EQ(device->memset(block, 7, 4_MiB + 1), Status::invalid_value);
}

TEST_F(ManagedMemory, LendsThroughItsAllocatorMoreThanTheDeviceHas) {
  Managed managed(*device_, {});
  void* const block = managed.allocate({.bytes = 40_GiB});
  EXPECT_EQ(device_->held_bytes(), 0u);
  managed.deallocate(block, {.bytes = 40_GiB});
  managed.deallocate(block, {.bytes = 40_GiB});
  EXPECT_EQ(managed.refused_frees(), 1u);
}

TEST_F(ManagedMemory, ComesToTheDeviceAtOnceWhenItsAllocatorPrefetches) {
  Managed managed(*device_, {.prefetch = true});
  void* const block = managed.allocate({.bytes = 64_MiB});
  ASSERT_EQ(device_->synchronize(), Status::success);
  EXPECT_EQ(traffic().prefetched_bytes, 64_MiB);
  managed.deallocate(block, {.bytes = 64_MiB});
}

}  // namespace
}  // namespace drought
