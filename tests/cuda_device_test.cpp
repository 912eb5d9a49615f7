// What the cuda lane adds to the driver's own answers: the cap and its accounting, streams and events
// by id, and a GPU left as it was found. The table of answers that both lanes share is in semantics.cpp.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "harness/sched/random.hpp"
#include "tests/cuda_lane.hpp"

namespace drought {
namespace {

TEST(CudaLaneWithoutAGpu, SaysWhyThereIsNone) {
  std::string why_not;
  const auto device = device_of(why_not);
  EXPECT_EQ(device == nullptr, !why_not.empty()) << why_not;
  const auto unified = make_cuda_device(profile_named("dgx-spark-128g"), {}, why_not);
  EXPECT_FALSE(unified);
  EXPECT_FALSE(why_not.empty());
}

TEST_F(CudaLane, CountsUnderACapWhatTheGpuItselfCounts) {
  const auto limited = capped(40_GiB);
  Random random(42);
  std::vector<void*> blocks;
  const std::size_t real_start = free_bytes(*device_), start = free_bytes(*limited);
  for (int step = 0; step < 400; ++step) {
    if (blocks.size() > 60 || (!blocks.empty() && random() % 3 == 0)) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      ASSERT_EQ(limited->free(blocks.back()), Status::success);
      blocks.pop_back();
    } else {
      void* out = nullptr;
      const std::size_t bytes = 1 + random() % (std::size_t{1} << (random() % 27));
      ASSERT_EQ(limited->malloc(out, bytes), Status::success) << bytes;
      blocks.push_back(out);
    }
    ASSERT_EQ(start - free_bytes(*limited), real_start - free_bytes(*device_)) << "after step " << step;
  }
}

TEST_F(CudaLane, RefusesWhatWouldPassItsCapAndNothingLess) {
  const auto limited = capped(1320_MiB);
  MemInfo info;
  ASSERT_EQ(limited->mem_info(info), Status::success);
  EXPECT_EQ(info.total_bytes, 1320_MiB);
  EXPECT_EQ(info.free_bytes, 1320_MiB - limited->profile().context_bytes);
  void *most = nullptr, *more = &info;
  ASSERT_EQ(limited->malloc(most, round_down(info.free_bytes, 2_MiB)), Status::success);
  EXPECT_LT(free_bytes(*limited), 2_MiB);
  for (const std::size_t bytes : {1_B, 2_MiB, 1_GiB, ~std::size_t{0}}) {
    EXPECT_EQ(limited->malloc(more, bytes), Status::memory_allocation) << bytes;
    EXPECT_EQ(more, nullptr);
  }
  MemoryHandle handle;
  EXPECT_EQ(limited->mem_create(handle, 2_MiB), Status::memory_allocation);
  EXPECT_EQ(limited->peek_last_error(), Status::memory_allocation);
  ASSERT_EQ(limited->free(most), Status::success);
  EXPECT_EQ(limited->malloc(more, 1), Status::success);
  EXPECT_EQ(free_bytes(*limited), info.free_bytes - 2_MiB);
}

TEST_F(CudaLane, ReadsWhatItFilledAndCopied) {
  void* const to = block(3_MiB);
  ASSERT_EQ(device_->memset(to, 0xa5, 3_MiB), Status::success);
  std::vector<std::uint8_t> expected(3_MiB, 0xa5);
  for (std::size_t i = 0; i < 1000; ++i) expected[777 + i] = static_cast<std::uint8_t>(i);
  ASSERT_EQ(device_->memcpy(static_cast<char*>(to) + 777, expected.data() + 777, 1000), Status::success);
  EXPECT_EQ(read(to, 3_MiB), expected);
}

TEST_F(CudaLane, RefusesAFillOrCopyOfMemoryThatIsNotThereAndStaysHealthy) {
  void* const live = block(64_MiB);
  void* const freed = block(64_MiB);
  ASSERT_EQ(device_->free(freed), Status::success);
  std::vector<char> host(4096);
  EXPECT_EQ(device_->memset(live, 0, 64_MiB + 1), Status::invalid_value);
  EXPECT_EQ(device_->memset(freed, 0, 1), Status::invalid_value);
  EXPECT_EQ(device_->memcpy(static_cast<char*>(live) + 64_MiB - 1, host.data(), 2), Status::invalid_value);
  EXPECT_EQ(device_->memcpy(freed, host.data(), host.size()), Status::invalid_value);
  EXPECT_EQ(device_->memcpy(host.data(), freed, host.size()), Status::invalid_value);
  EXPECT_EQ(device_->take_last_error(), Status::invalid_value);
  EXPECT_EQ(touch(*device_, {.address = address(live)}), Status::success);
  EXPECT_EQ(device_->synchronize(), Status::success);
}

TEST_F(CudaLane, CopiesWhatTheHostMappedWhereABlockWas) {
  void *const to = block(4096), *const freed = block(128_MiB);
  ASSERT_EQ(device_->free(freed), Status::success);
  void* const mapped =
      ::mmap(freed, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (mapped == MAP_FAILED) GTEST_SKIP() << "the driver keeps a freed block's place";
  std::memset(mapped, 0x5a, 4096);
  EXPECT_EQ(device_->memcpy(to, mapped, 4096), Status::success);
  EXPECT_EQ(read(to, 4096), std::vector<std::uint8_t>(4096, 0x5a));
  ASSERT_EQ(::munmap(mapped, 4096), 0);
  EXPECT_EQ(device_->memcpy(to, freed, 4096), Status::invalid_value);
}

TEST_F(CudaLane, MapsCreatesAndReleasesWithTheGpusOwnFigures) {
  const auto limited = capped(40_GiB);
  const std::size_t start = free_bytes(*limited), real_start = free_bytes(*device_);
  const auto expect_taken = [&](std::size_t bytes, const char* when) {
    EXPECT_EQ(start - free_bytes(*limited), bytes) << when;
    EXPECT_EQ(real_start - free_bytes(*device_), bytes) << when;
  };
  void* range = nullptr;
  std::array<MemoryHandle, 2> handles;
  ASSERT_EQ(limited->address_reserve(range, 1_GiB), Status::success);
  expect_taken(0, "after the reservation");
  auto* const bytes = static_cast<std::uint8_t*>(range);
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(limited->mem_create(handles[i], 32_MiB), Status::success);
    ASSERT_EQ(limited->mem_map(bytes + i * 32_MiB, 32_MiB, 0, handles[i]), Status::success);
  }
  ASSERT_EQ(limited->mem_set_access(range, 64_MiB, Protection::read_write), Status::success);
  expect_taken(64_MiB, "mapped");
  ASSERT_EQ(limited->memset(bytes + 32_MiB - 8, 7, 16), Status::success);
  EXPECT_EQ(read(bytes + 32_MiB - 8, 16), std::vector<std::uint8_t>(16, 7));
  ASSERT_EQ(limited->mem_release(handles[0]), Status::success);
  expect_taken(64_MiB, "released while mapped");
  ASSERT_EQ(limited->mem_unmap(bytes, 32_MiB), Status::success);
  expect_taken(32_MiB, "unmapped after the release");
  EXPECT_EQ(limited->address_free(range, 1_GiB), Status::invalid_value) << "half of it is mapped";
}

TEST_F(CudaLane, KeepsOrderAcrossStreamsByAnEventAndSaysWhatIsPending) {
  auto* const byte = static_cast<std::uint8_t*>(block(1));
  Stream first, second;
  Event event;
  ASSERT_EQ(device_->stream_create(first), Status::success);
  ASSERT_EQ(device_->stream_create(second), Status::success);
  ASSERT_EQ(device_->event_create(event), Status::success);
  ASSERT_EQ(device_->memset(byte, 0, 1, first), Status::success);
  ASSERT_EQ(touch(*device_, {address(byte), kLongCycles, true, 9}, first), Status::success);
  ASSERT_EQ(device_->event_record(event, first), Status::success);
  EXPECT_EQ(device_->event_query(event), Status::not_ready);
  EXPECT_EQ(device_->peek_last_error(), Status::success);
  ASSERT_EQ(device_->stream_wait_event(second, event), Status::success);
  std::uint8_t seen = 0;
  ASSERT_EQ(device_->memcpy(&seen, byte, 1, second), Status::success);
  ASSERT_EQ(device_->stream_synchronize(second), Status::success);
  EXPECT_EQ(seen, 9);
  EXPECT_EQ(device_->event_query(event), Status::success);
  ASSERT_EQ(device_->stream_destroy(first), Status::success);
  EXPECT_EQ(device_->stream_synchronize(first), Status::invalid_resource_handle);
  EXPECT_EQ(device_->event_record(Event{12345}, second), Status::invalid_resource_handle);
}

TEST_F(CudaLane, AnswersOfAnEventAlikeInEveryRunWhereThatIsAskedFor) {
  std::string why_not;
  const auto repeatable = make_cuda_device(profile_named("h200"), {.repeatable = true}, why_not);
  ASSERT_TRUE(repeatable) << why_not;
  Stream stream;
  Event event;
  ASSERT_EQ(repeatable->stream_create(stream), Status::success);
  ASSERT_EQ(repeatable->event_create(event), Status::success);
  EXPECT_EQ(repeatable->event_query(event), Status::success) << "nothing was recorded";
  for (const std::uint64_t cycles : {std::uint64_t{0}, kLongCycles / 10}) {
    for (int i = 0; i < 5; ++i) {
      ASSERT_EQ(touch(*repeatable, {.cycles = cycles}, stream), Status::success);
      ASSERT_EQ(repeatable->event_record(event, stream), Status::success);
      EXPECT_EQ(repeatable->event_query(event), Status::not_ready);
      EXPECT_EQ(repeatable->event_query(event), Status::success);
      ASSERT_EQ(repeatable->event_record(event, stream), Status::success);
      ASSERT_EQ(repeatable->stream_synchronize(stream), Status::success);
      EXPECT_EQ(repeatable->event_query(event), Status::success) << "whoever waited knows";
    }
  }
}

TEST_F(CudaLane, WaitsForARunningKernelBeforeItTakesMemoryBack) {
  void* const other = block(4_MiB);
  Stream stream;
  Event event;
  ASSERT_EQ(device_->stream_create(stream), Status::success);
  ASSERT_EQ(device_->event_create(event), Status::success);
  ASSERT_EQ(touch(*device_, {.cycles = kLongCycles}, stream), Status::success);
  ASSERT_EQ(device_->event_record(event, stream), Status::success);
  ASSERT_EQ(device_->event_query(event), Status::not_ready);
  ASSERT_EQ(device_->free(other), Status::success);
  EXPECT_EQ(device_->event_query(event), Status::success);
}

TEST_F(CudaLane, RefusesALaunchTheChipCannotRunOrThatHasNoBodyForIt) {
  EXPECT_EQ(touch(*device_, {}, {}, 2048), Status::invalid_value);
  EXPECT_EQ(device_->launch({.kernel = "host only", .declared = false}), Status::not_supported);
  EXPECT_EQ(touch(*device_, {}), Status::success) << "an earlier error stayed in the runtime's slot";
  EXPECT_EQ(device_->synchronize(), Status::success);
}

TEST_F(CudaLane, LeavesNoTraceOfADeviceThatIsDestroyedWhileItHoldsEverything) {
  const std::size_t start = free_bytes(*device_);
  std::vector<char> page(8192);
  {
    const auto other = capped(0);
    void *out = nullptr, *range = nullptr;
    MemoryHandle handle;
    Stream stream;
    ASSERT_EQ(other->malloc(out, 64_MiB), Status::success);
    ASSERT_EQ(other->address_reserve(range, 1_GiB), Status::success);
    ASSERT_EQ(other->mem_create(handle, 64_MiB), Status::success);
    ASSERT_EQ(other->mem_map(range, 64_MiB, 0, handle), Status::success);
    ASSERT_EQ(other->stream_create(stream), Status::success);
    ASSERT_EQ(other->host_register(page.data(), page.size(), {}), Status::success);
    ASSERT_EQ(other->malloc_host(out, 1_MiB), Status::success);
    ASSERT_EQ(start - free_bytes(*device_), 128_MiB);
  }
  EXPECT_EQ(free_bytes(*device_), start);
  EXPECT_EQ(device_->host_register(page.data(), page.size(), {}), Status::success)
      << "it was left registered";
}

TEST_F(CudaLane, SkipsFillsAndLaunchesInShapesModeAndStillRefusesWrongOnes) {
  std::string why_not;
  const auto shapes = make_cuda_device(profile_named("h200"), {.work = Device::Work::shapes}, why_not);
  ASSERT_TRUE(shapes) << why_not;
  void *block = nullptr, *range = nullptr;
  ASSERT_EQ(shapes->malloc(block, 4_KiB), Status::success);
  ASSERT_EQ(device_->memset(block, 3, 4_KiB), Status::success);
  EXPECT_EQ(shapes->memset(block, 9, 4_KiB), Status::success);
  EXPECT_EQ(touch(*shapes, {.address = address(block), .write = true, .value = 9}), Status::success);
  EXPECT_EQ(read(block, 4_KiB), std::vector<std::uint8_t>(4_KiB, 3));
  EXPECT_EQ(shapes->memset(block, 9, 4_KiB + 1), Status::invalid_value);
  EXPECT_EQ(touch(*shapes, {}, {}, 2048), Status::invalid_value);
  std::array<MemoryHandle, 2> handles;
  ASSERT_EQ(shapes->address_reserve(range, 8_MiB), Status::success);
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(shapes->mem_create(handles[i], 2_MiB), Status::success);
    ASSERT_EQ(shapes->mem_map(static_cast<char*>(range) + i * 2_MiB, 2_MiB, 0, handles[i]), Status::success);
  }
  EXPECT_EQ(shapes->memset(static_cast<char*>(range) + 100, 9, 4_MiB - 100), Status::success);
  EXPECT_EQ(shapes->memset(static_cast<char*>(range) + 100, 9, 4_MiB - 99), Status::invalid_value);
}

TEST_F(CudaLane, NamesPlacesByOffsetsThatHoldNoAddress) {
  std::vector<char> page(8192);
  void *first = nullptr, *range = nullptr;
  ASSERT_EQ(device_->malloc(first, 1_MiB), Status::success);
  ASSERT_EQ(device_->address_reserve(range, 2_MiB), Status::success);
  ASSERT_EQ(device_->host_register(page.data(), page.size(), {}), Status::success);
  EXPECT_EQ(device_->offset_of(static_cast<char*>(first) + 5), (std::uint64_t{1} << 46) + 5);
  EXPECT_EQ(device_->offset_of(static_cast<char*>(range) + 5), (std::uint64_t{2} << 46) + 5);
  EXPECT_EQ(device_->offset_of(page.data() + 5), (std::uint64_t{1} << 60) + 5);
  EXPECT_EQ(device_->offset_of(&range), UINT64_MAX);
}

TEST_F(CudaLane, RefusesACapacityThatDoesNotHoldItsContext) {
  std::string why_not;
  EXPECT_THROW(device_of(why_not, 500_MiB), std::invalid_argument);
}

}  // namespace
}  // namespace drought
