// Memory on the simulated device, beyond the measured table: any capacity on any machine, exact bytes,
// peers, and addresses that are the same in every run.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

using Work = Device::Work;

std::unique_ptr<Device> device_like(std::string_view profile, const DeviceOptions& options = {}) {
  return make_host_device(profile_named(profile), options);
}

std::vector<std::uint8_t> read(Device& device, const void* from, std::size_t bytes) {
  std::vector<std::uint8_t> host(bytes, 0xee);
  EXPECT_EQ(device.memcpy(host.data(), from, bytes), Status::success);
  return host;
}

TEST(HostDevice, HoldsA60GiBBufferThatIsTouchedAtBothEnds) {
  const auto device = device_like("h200");
  auto* const begin = static_cast<std::uint8_t*>(malloc_or_null(*device, 60_GiB));
  ASSERT_TRUE(begin);
  ASSERT_EQ(device->memset(begin, 0xa5, 16), Status::success);
  ASSERT_EQ(device->memset(begin + 60_GiB - 16, 0x5a, 16), Status::success);
  EXPECT_EQ(read(*device, begin, 16), std::vector<std::uint8_t>(16, 0xa5));
  EXPECT_EQ(read(*device, begin + 60_GiB - 16, 16), std::vector<std::uint8_t>(16, 0x5a));
  EXPECT_EQ(read(*device, begin + 30_GiB, 16), std::vector<std::uint8_t>(16, 0));
}

class EveryProfile : public testing::TestWithParam<Profile> {};

TEST_P(EveryProfile, LendsEveryByteBesideItsContextAndNotOneMore) {
  const auto device = make_host_device(GetParam(), {.work = Work::shapes});
  const std::size_t start = free_bytes(*device);
  EXPECT_EQ(start, GetParam().free_bytes_at_start());
  void* const most = malloc_or_null(*device, round_down(start, 2_MiB));
  ASSERT_TRUE(most);
  EXPECT_EQ(free_bytes(*device), start % 2_MiB);
  EXPECT_EQ(malloc_or_null(*device, 1), nullptr);
  EXPECT_EQ(device->take_last_error(), Status::memory_allocation);
  EXPECT_EQ(device->held_bytes(), round_down(start, 2_MiB));
  ASSERT_EQ(device->free(most), Status::success);
  EXPECT_EQ(free_bytes(*device), start);
  EXPECT_EQ(device->held_bytes(), 0u);
}

TEST_P(EveryProfile, AnswersVmmCallsExactlyWhenItHasVmm) {
  const auto device = make_host_device(GetParam(), {});
  const Status wanted = GetParam().has_vmm ? Status::success : Status::not_supported;
  MemoryHandle handle;
  void* at = nullptr;
  EXPECT_EQ(device->mem_create(handle, 2_MiB), wanted);
  EXPECT_EQ(device->address_reserve(at, 2_MiB), wanted);
  EXPECT_EQ(device->mem_map(at, 2_MiB, 0, handle), wanted);
  EXPECT_EQ(device->mem_set_access(at, 2_MiB, Protection::read_write), wanted);
  EXPECT_EQ(device->mem_unmap(at, 2_MiB), wanted);
  EXPECT_EQ(device->address_free(at, 2_MiB), wanted);
  EXPECT_EQ(device->mem_release(handle), wanted);
  EXPECT_EQ(device->held_bytes(), 0u);
}

TEST_P(EveryProfile, CountsPinnedMemoryAsItsOwnWhereBothShareOne) {
  const auto device = make_host_device(GetParam(), {.work = Work::shapes});
  const std::size_t start = free_bytes(*device);
  void* block = nullptr;
  ASSERT_EQ(device->malloc_host(block, 1_GiB), Status::success);
  EXPECT_EQ(start - free_bytes(*device), GetParam().unified_memory ? 1_GiB : 0);
  ASSERT_EQ(device->free_host(block), Status::success);
  EXPECT_EQ(free_bytes(*device), start);
}

INSTANTIATE_TEST_SUITE_P(Profiles, EveryProfile, testing::ValuesIn(profiles().begin(), profiles().end()),
                         [](const auto& tested) {
                           std::string name(tested.param.name);
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

TEST(HostDevice, TakesItsTotalFromTheOptionsAndRefusesOneBelowItsContext) {
  const auto device = device_like("h200", {.capacity_bytes = 2_GiB});
  MemInfo info;
  ASSERT_EQ(device->mem_info(info), Status::success);
  EXPECT_EQ(info.total_bytes, 2_GiB);
  EXPECT_EQ(info.free_bytes, 2_GiB - device->profile().context_bytes);
  EXPECT_THROW(device_like("h200", {.capacity_bytes = 512_MiB}), std::invalid_argument);
}

TEST(HostDevice, RunsOutByBytesAloneHoweverItsBlocksAreScattered) {
  const auto device = device_like("rtx4090-24g", {.work = Work::shapes});
  std::vector<void*> blocks;
  while (void* const block = malloc_or_null(*device, 4_MiB)) blocks.push_back(block);
  for (std::size_t i = 0; i < blocks.size(); i += 2) ASSERT_EQ(device->free(blocks[i]), Status::success);
  const std::size_t room = round_down(free_bytes(*device), 2_MiB);
  ASSERT_GT(room, 11_GiB);
  EXPECT_TRUE(malloc_or_null(*device, room));
  EXPECT_FALSE(malloc_or_null(*device, 2_MiB));
}

TEST(HostDevice, ChargesPeersTheirContextsAndRefusesAPeerThatDoesNotFit) {
  const auto device = device_like("h200");
  const std::size_t start = free_bytes(*device), context = device->profile().peer_context_bytes;
  ASSERT_EQ(device->set_peer("trainer", 100_GiB), Status::success);
  EXPECT_EQ(start - free_bytes(*device), 100_GiB + context);
  EXPECT_EQ(device->set_peer("trainer", 200_GiB), Status::memory_allocation);
  EXPECT_EQ(device->set_peer("second", ~std::size_t{0}), Status::memory_allocation);
  EXPECT_EQ(start - free_bytes(*device), 100_GiB + context);
  EXPECT_FALSE(malloc_or_null(*device, 60_GiB));
  ASSERT_EQ(device->set_peer("trainer", 1_GiB), Status::success);
  EXPECT_EQ(start - free_bytes(*device), 1_GiB + context);
  EXPECT_EQ(device->held_bytes(), 0u);
  ASSERT_EQ(device->set_peer("trainer", 0), Status::success);
  EXPECT_EQ(free_bytes(*device), start);
}

TEST(HostDevice, ForgetsABigBlocksBytesWhenItIsFreed) {
  const auto device = device_like("h200");
  void* const first = malloc_or_null(*device, 64_MiB);
  ASSERT_EQ(device->memset(first, 0xa5, 64_MiB), Status::success);
  ASSERT_EQ(device->free(first), Status::success);
  void* const second = malloc_or_null(*device, 64_MiB);
  ASSERT_EQ(first, second);
  EXPECT_EQ(read(*device, second, 4096), std::vector<std::uint8_t>(4096, 0)) << "the pages were kept";
}

TEST(HostDevice, CopiesBothWaysThroughPageableAndPinnedMemory) {
  const auto device = device_like("h200");
  for (const std::size_t bytes : {1000_B, 64_KiB, 3_MiB}) {
    auto* const block = static_cast<std::uint8_t*>(malloc_or_null(*device, 2 * bytes));
    std::vector<std::uint8_t> pageable(bytes);
    std::iota(pageable.begin(), pageable.end(), std::uint8_t{7});
    const std::vector<std::uint8_t> sent = pageable;
    ASSERT_EQ(device->memcpy(block, pageable.data(), bytes), Status::success);
    std::memset(pageable.data(), 0, bytes);  // The call has returned, so the source is ours again.
    void* pinned = nullptr;
    ASSERT_EQ(device->malloc_host(pinned, bytes), Status::success);
    ASSERT_EQ(device->memcpy(block + bytes, block, bytes), Status::success);
    ASSERT_EQ(device->memcpy(pinned, block + bytes, bytes), Status::success);
    ASSERT_EQ(device->synchronize(), Status::success);
    EXPECT_EQ(std::memcmp(pinned, sent.data(), bytes), 0) << bytes;
    EXPECT_EQ(read(*device, block, bytes), sent);
    ASSERT_EQ(device->free_host(pinned), Status::success);
    ASSERT_EQ(device->free(block), Status::success);
  }
}

std::vector<std::uint64_t> offsets_of(Device& device) {
  std::vector<std::uint64_t> offsets;
  for (const std::size_t bytes : {1_B, 1_MiB, 5_MiB, 64_MiB, 1000_B, 20_GiB}) {
    void* out = malloc_or_null(device, bytes);
    offsets.push_back(device.offset_of(static_cast<char*>(out) + bytes - 1));
    EXPECT_EQ(device.address_reserve(out, round_up(bytes, 2_MiB)), Status::success);
    offsets.push_back(device.offset_of(static_cast<char*>(out) + 100));
    EXPECT_EQ(device.malloc_host(out, 10_KiB), Status::success);
    offsets.push_back(device.offset_of(static_cast<char*>(out) + 10));
  }
  return offsets;
}

TEST(HostDevice, ReportsTheSameOffsetsOnEveryDevice) {
  const auto first = device_like("h200"), second = device_like("h200");
  EXPECT_EQ(offsets_of(*first), offsets_of(*second));
  int foreign = 0;
  EXPECT_EQ(first->offset_of(&foreign), UINT64_MAX);
  EXPECT_EQ(first->offset_of(malloc_or_null(*second, 1)), UINT64_MAX);
}

TEST(HostDevice, CostsNothingPerByteWhereOnlyShapesCount) {
  const auto device = device_like("h200", {.work = Work::shapes});
  auto* const begin = static_cast<std::uint8_t*>(malloc_or_null(*device, 120_GiB));
  ASSERT_TRUE(begin);
  EXPECT_EQ(device->memset(begin, 1, 120_GiB), Status::success);
  EXPECT_EQ(device->memcpy(begin, begin + 60_GiB, 60_GiB), Status::success);
  EXPECT_EQ(device->memset(begin, 1, 120_GiB + 1), Status::invalid_value);
  EXPECT_EQ(device->synchronize(), Status::success);
}

TEST(HostDevice, ReservesFarMoreAddressesThanItHasMemoryAgainAndAgain) {
  const auto device = device_like("h200");
  const std::size_t most = device->profile().address_space_bytes;
  for (int i = 0; i < 3; ++i) {
    void* out = nullptr;
    ASSERT_EQ(device->address_reserve(out, most), Status::success);
    MemoryHandle handle;
    ASSERT_EQ(device->mem_create(handle, 2_MiB), Status::success);
    char* const last = static_cast<char*>(out) + most - 2_MiB;
    ASSERT_EQ(device->mem_map(last, 2_MiB, 0, handle), Status::success);
    ASSERT_EQ(device->mem_set_access(last, 2_MiB, Protection::read_write), Status::success);
    ASSERT_EQ(device->memset(last, 3, 2_MiB), Status::success);
    EXPECT_EQ(read(*device, last + 2_MiB - 1, 1).front(), 3);
    ASSERT_EQ(device->mem_unmap(last, 2_MiB), Status::success);
    ASSERT_EQ(device->mem_release(handle), Status::success);
    ASSERT_EQ(device->address_free(out, most), Status::success);
  }
  EXPECT_EQ(device->held_bytes(), 0u);
  void* out = nullptr;
  const auto second = device_like("h200");
  EXPECT_EQ(second->address_reserve(out, most), Status::success) << "the first device kept the addresses";
}

}  // namespace
}  // namespace drought
