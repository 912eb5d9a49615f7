// Processes beside the cuda lane's own: peers that hold memory, and children whose context dies.
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "harness/device/child.hpp"
#include "tests/child_jobs.hpp"
#include "tests/cuda_lane.hpp"

namespace drought {
namespace {

TEST_F(CudaLane, SeesAPeersMemoryComeGrowAndGo) {
  const std::size_t start = free_bytes(*device_);
  ASSERT_EQ(device_->set_peer("trainer", 1_GiB), Status::success);
  const std::size_t beside = free_bytes(*device_);
  EXPECT_GT(start - beside, 1_GiB + 256_MiB) << "a peer costs its context too";
  EXPECT_LT(start - beside, 2_GiB);
  ASSERT_EQ(device_->set_peer("trainer", 3_GiB), Status::success);
  EXPECT_EQ(beside - free_bytes(*device_), 2_GiB);
  EXPECT_EQ(device_->set_peer("trainer", 1'000_GiB), Status::memory_allocation);
  EXPECT_EQ(beside - free_bytes(*device_), 2_GiB) << "a refusal changed what the peer holds";
  ASSERT_EQ(device_->set_peer("trainer", 0), Status::success);
  EXPECT_EQ(free_bytes(*device_), start);
}

TEST_F(CudaLane, ChargesAPeerToItsCap) {
  const auto limited = capped(4_GiB);
  const std::size_t start = free_bytes(*limited);
  ASSERT_EQ(limited->set_peer("trainer", 1_GiB), Status::success);
  EXPECT_EQ(start - free_bytes(*limited), 1_GiB + limited->profile().peer_context_bytes);
  EXPECT_EQ(limited->set_peer("second", 2_GiB), Status::memory_allocation);
  EXPECT_EQ(limited->set_peer("trainer", 2_GiB), Status::success);
}

ChildEnd case_in_child(std::string_view name) { return Child(job("cuda_case")).finish(name); }

TEST_F(CudaLane, AnswersEveryCallWithTheSameErrorOnceAKernelReadFreedMemory) {
  const ChildEnd end = case_in_child("illegal_address");
  EXPECT_EQ(end.text(), "exit 0");
  EXPECT_EQ(end.record,
            "launch cudaSuccess\nsynchronize cudaErrorIllegalAddress\nmalloc cudaErrorIllegalAddress\n"
            "take cudaErrorIllegalAddress\ntake again cudaErrorIllegalAddress\nanother device no\n");
  EXPECT_EQ(touch(*device_, {}), Status::success) << "the parent's context died with the child's";
  EXPECT_EQ(device_->synchronize(), Status::success);
}

TEST_F(CudaLane, ReportsTheSameOffsetsInEveryProcess) {
  const ChildEnd first = case_in_child("offsets"), second = case_in_child("offsets");
  EXPECT_TRUE(first.succeeded()) << first.text();
  EXPECT_EQ(first.record, second.record);
}

void illegal_address(Device& device, std::ostream& record) {
  void* block = nullptr;
  record << "launch ";
  if (device.malloc(block, 64_MiB) != Status::success || device.free(block) != Status::success) return;
  record << name(touch(device, {.address = address(block)})) << '\n';
  record << "synchronize " << name(device.synchronize()) << '\n';
  record << "malloc " << name(device.malloc(block, 1)) << '\n';
  record << "take " << name(device.take_last_error()) << '\n';
  record << "take again " << name(device.take_last_error()) << '\n';
  std::string why_not;
  record << "another device " << (device_of(why_not) ? "yes" : "no") << '\n';
}

void offsets(Device& device, std::ostream& record) {
  for (const std::size_t bytes : {1_B, 1_MiB, 5_MiB, 64_MiB, 1000_B, 20_GiB}) {
    void* out = nullptr;
    record << bytes << ' ' << name(device.malloc(out, bytes)) << ' ' << device.offset_of(out) << '\n';
    record << bytes << ' ' << name(device.address_reserve(out, round_up(bytes, 2_MiB))) << ' '
           << device.offset_of(static_cast<char*>(out) + 100) << '\n';
  }
}

}  // namespace

int run_cuda_case(std::istream& input, std::ostream& record) {
  std::string wanted, why_not;
  input >> wanted;
  const auto device = device_of(why_not);
  if (!device) return 77;
  if (wanted == "illegal_address") return illegal_address(*device, record), 0;
  if (wanted == "offsets") return offsets(*device, record), 0;
  return 2;
}

}  // namespace drought
