// What an illegal address does on the simulated device: it ends its context and nothing else, in the
// shape CUDA gives it.
#include <gtest/gtest.h>

#include <string>

#include "harness/simt/host_context.hpp"
#include "tests/host_lane.hpp"
#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

using Work = Device::Work;

class EveryFaultSeed : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, EveryFaultSeed, testing::Range<std::uint64_t>(1, 33));

TEST_P(EveryFaultSeed, HidesAFaultUntilACallSynchronisesAndThenAnswersItForEver) {
  const auto device = h200(GetParam());
  auto* const block = static_cast<char*>(malloc_or_null(*device, 64_MiB));
  ASSERT_EQ(device->free(block), Status::success);
  const Stream stream = stream_of(*device);
  std::string log;
  // Far behind the small blocks below, which take the freed address.
  ASSERT_EQ(probe_write(*device, block + 32_MiB, 1, stream), Status::success);
  ASSERT_EQ(note(*device, log, 'a', stream), Status::success);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(malloc_or_null(*device, 1_KiB));
  EXPECT_EQ(device->stream_synchronize(stream), Status::illegal_address);
  EXPECT_EQ(log, "") << "work behind the fault ran";
  MemInfo info;
  EXPECT_EQ(device->mem_info(info), Status::illegal_address);
  EXPECT_EQ(malloc_or_null(*device, 1), nullptr);
  EXPECT_EQ(device->free(nullptr), Status::illegal_address);
  EXPECT_EQ(device->take_last_error(), Status::illegal_address);
  EXPECT_EQ(device->peek_last_error(), Status::illegal_address);

  const auto second = h200(GetParam());
  void* const healthy = malloc_or_null(*second, 1_KiB);
  ASSERT_EQ(probe_write(*second, healthy, 9), Status::success);
  std::uint8_t seen = 0;
  ASSERT_EQ(second->memcpy(&seen, healthy, 1), Status::success);
  EXPECT_EQ(seen, 9);
}

Status touch_the_launch_itself(const Launch& launch) {
  volatile char* const address = *static_cast<char* const*>(launch.arguments);
  *address = 1;
  return Status::success;
}

TEST(HostDeviceFault, EndsOnlyTheContextWhenABodyTouchesWhatNobodyMapped) {
  const auto device = h200();
  char* const address = static_cast<char*>(malloc_or_null(*device, 64_MiB)) + 64_MiB + 12_MiB;
  ASSERT_EQ(device->launch({.kernel = "stray",
                            .grid = {1, 1, 1},
                            .block = {1, 1, 1},
                            .declared = false,
                            .arguments = &address,
                            .arguments_bytes = sizeof address,
                            .host = touch_the_launch_itself}),
            Status::success);
  EXPECT_EQ(device->synchronize(), Status::illegal_address);
}

void touch_on_every_thread(HostContext&, const void* arguments) {
  volatile char* const address = *static_cast<char* const*>(arguments);
  *address = 1;
}

Status touch_on_kernel_threads(const Launch& launch) {
  return run_on_host(launch, touch_on_every_thread, launch.arguments);
}

TEST(HostDeviceFault, NamesTheKernelAndTheThreadThatTouchedWhatNobodyMapped) {
  for (int i = 0; i < 2; ++i) {
    const auto device = h200();
    char* const address = static_cast<char*>(malloc_or_null(*device, 64_MiB)) + 64_MiB + 12_MiB;
    ASSERT_EQ(device->launch({.kernel = "stray",
                              .grid = {2, 1, 1},
                              .block = {64, 1, 1},
                              .declared = false,
                              .arguments = &address,
                              .arguments_bytes = sizeof address,
                              .host = touch_on_kernel_threads}),
              Status::success);
    EXPECT_EQ(device->synchronize(), Status::illegal_address);
    EXPECT_NE(host_launch_report().find("stray, block"), std::string::npos) << host_launch_report();
  }
}

TEST(HostDeviceFault, TakesADeclaredOperandThatIsNotMappedForAFaultEvenWhereOnlyShapesCount) {
  for (const Work work : {Work::full, Work::shapes}) {
    const auto device = h200(1, work);
    void* const block = malloc_or_null(*device, 64_MiB);
    const Operand stale{"kv_buffer", block, 64_MiB + 1, Access::read};
    std::string log;
    const Note arguments{&log, 'a'};
    ASSERT_EQ(device->launch({.kernel = "note",
                              .grid = {1, 1, 1},
                              .block = {1, 1, 1},
                              .operands = {&stale, 1},
                              .arguments = &arguments,
                              .arguments_bytes = sizeof arguments,
                              .host = write_note}),
              Status::success);
    EXPECT_EQ(device->synchronize(), Status::illegal_address);
    EXPECT_EQ(log, "");
  }
}

TEST(HostDeviceFault, MakesAPendingFillFaultWhenItsMappingIsGoneBeforeItRuns) {
  int faults = 0;
  for (std::uint64_t seed = 1; seed <= 16; ++seed) {
    const auto device = h200(seed);
    MemoryHandle handle;
    void* at = nullptr;
    ASSERT_EQ(device->mem_create(handle, 2_MiB), Status::success);
    ASSERT_EQ(device->address_reserve(at, 2_MiB), Status::success);
    ASSERT_EQ(device->mem_map(at, 2_MiB, 0, handle), Status::success);
    ASSERT_EQ(device->mem_set_access(at, 2_MiB, Protection::read_write), Status::success);
    ASSERT_EQ(device->memset(at, 1, 2_MiB), Status::success);
    ASSERT_EQ(device->mem_unmap(at, 2_MiB), Status::success);
    if (device->synchronize() == Status::illegal_address) ++faults;
  }
  EXPECT_GT(faults, 2);
  EXPECT_LT(faults, 16);
}

TEST(HostDeviceFault, RefusesAKernelsWriteToAReadOnlyMapping) {
  for (const Work work : {Work::full, Work::shapes}) {
    const auto device = h200(1, work);
    MemoryHandle handle;
    void* at = nullptr;
    ASSERT_EQ(device->mem_create(handle, 2_MiB), Status::success);
    ASSERT_EQ(device->address_reserve(at, 2_MiB), Status::success);
    ASSERT_EQ(device->mem_map(at, 2_MiB, 0, handle), Status::success);
    ASSERT_EQ(device->mem_set_access(at, 2_MiB, Protection::read), Status::success);
    ASSERT_EQ(probe_write(*device, at, 1), Status::success);
    EXPECT_EQ(device->synchronize(), Status::illegal_address);
  }
}

TEST(HostDeviceFaultDeathTest, LeavesABugOutsideDeviceWorkACrash) {
  const auto device = h200();
  void* const block = malloc_or_null(*device, 64_MiB);
  ASSERT_EQ(probe_read(*device, block), Status::success);
  ASSERT_EQ(device->free(block), Status::success);
  EXPECT_DEATH(*static_cast<volatile char*>(block) = 1, "");
}

}  // namespace
}  // namespace drought
