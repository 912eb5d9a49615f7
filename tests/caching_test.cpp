// The rules of PyTorch's caching allocator as short scripts with the decisions they must cause. The
// scripts and their answers come from a model of the rules that recorded traces agree with.
#include "allocators/caching.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/caching_bench.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Bench = CachingBench;

/// Lends each segment below the one before.
struct Falling final : Resource {
  void* allocate(Request request) override {
    return reinterpret_cast<void*>(next -= round_up(request.bytes, 2_MiB));
  }
  void deallocate(void*, Request) noexcept override {}
  std::uintptr_t next = std::uintptr_t{1} << 40;
};

TEST(Caching, DoesNotReuseAHoleThatIsTooSmall) {
  Bench bench;
  EXPECT_EQ(bench.take(1), 0u);
  EXPECT_EQ(bench.take(513), 0x200u);
  bench.give(0);
  EXPECT_EQ(bench.take(600), 0x600u);
  EXPECT_EQ(bench.take(512), 0u) << "the hole is just large enough for this one";
  EXPECT_THAT(bench.decisions, ElementsAre("alloc 2097152 @0"));
}

TEST(Caching, BorrowsSegmentsOfTheSizesThatPyTorchBorrows) {
  Bench bench;
  EXPECT_EQ(bench.take(1_MiB + 1), 0u);
  EXPECT_EQ(bench.take(9_MiB), 0x100200u);
  EXPECT_EQ(bench.take(10_MiB), 0x1400000u);
  EXPECT_EQ(bench.take(11_MiB + 1), 0x1e00000u);
  EXPECT_THAT(bench.decisions,
              ElementsAre("alloc 20971520 @0", "alloc 10485760 @20971520", "alloc 12582912 @31457280"));
  EXPECT_EQ(bench.caching.reserved_bytes(), 44040192u);
}

TEST(Caching, SplitsALargeBlockOnlyWhenMoreThanOneMiBRemains) {
  Bench bench;
  bench.take(18_MiB);
  bench.give(0);
  bench.take(17_MiB);
  EXPECT_THAT(bench.caching.free_blocks(), IsEmpty());
  bench.give(0);
  bench.take(17_MiB - 512);
  ASSERT_EQ(bench.caching.free_blocks().size(), 1u);
  EXPECT_EQ(bench.caching.free_blocks()[0].bytes, 1_MiB + 512);
}

TEST(Caching, GivesEveryCachedSegmentBackInAddressOrderAndTriesOnceMoreWhenRefused) {
  Bench bench(100_MiB);
  for (int i = 0; i < 3; ++i) bench.take(30_MiB);
  bench.give_all();
  EXPECT_EQ(bench.take(60_MiB), 0x5a00000u);
  EXPECT_THAT(bench.decisions,
              ElementsAre("alloc 31457280 @0", "alloc 31457280 @31457280", "alloc 31457280 @62914560",
                          "free 31457280 @0", "free 31457280 @31457280", "free 31457280 @62914560",
                          "alloc 62914560 @94371840"));
  EXPECT_EQ(bench.caching.retries(), 1u);
  EXPECT_EQ(bench.device.peek_last_error(), Status::success);
}

TEST(Caching, ThrowsOutOfMemoryWithItsFiguresAndStaysUsableWhenTheRetryIsRefusedToo) {
  Bench bench(60_MiB);
  bench.take(40_MiB);
  try {
    bench.caching.allocate({.bytes = 21_MiB, .tag = "kv_buffer"});
    FAIL() << "61 MiB were lent by a device of 60 MiB";
  } catch (const OutOfMemory& error) {
    EXPECT_EQ(error.request().bytes, 21_MiB);
    EXPECT_THAT(error.what(), HasSubstr("kv_buffer"));
    EXPECT_THAT(error.what(), HasSubstr("a segment of 22.00 MiB beside the 40.00 MiB reserved"));
  }
  EXPECT_THAT(bench.decisions, ElementsAre("alloc 41943040 @0", "oom 22020096"));
  EXPECT_EQ(bench.caching.retries(), 1u);
  EXPECT_EQ(bench.caching.ooms(), 1u);
  EXPECT_EQ(bench.caching.reserved_bytes(), 41943040u);
  EXPECT_EQ(bench.device.used_bytes(), 41943040u);
  bench.take(20_MiB);
  EXPECT_EQ(bench.device.used_bytes(), 60_MiB);
}

TEST(Caching, MergesFreeNeighboursWhateverTheOrderInWhichTheyAreFreed) {
  std::vector<int> order{0, 1, 2, 3, 4};
  do {
    Bench bench;
    for (int i = 0; i < 5; ++i) bench.take(64_KiB);
    for (const int i : order) bench.give(static_cast<std::uint64_t>(i) * 64_KiB);
    ASSERT_EQ(bench.caching.free_blocks().size(), 1u);
    ASSERT_EQ(bench.caching.free_blocks()[0].bytes, 2_MiB);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(Caching, TakesOfEquallyLargeBlocksTheLowestOrWhenAskedTheOldest) {
  for (const std::string ties : {"address", "age"}) {
    ScriptedDevice device;
    Falling falling;
    Caching caching(falling, device, {.ties = ties});
    void* older = caching.allocate({.bytes = 12_MiB});
    void* newer = caching.allocate({.bytes = 12_MiB});
    ASSERT_LT(newer, older);
    caching.deallocate(newer, {.bytes = 12_MiB});
    caching.deallocate(older, {.bytes = 12_MiB});
    EXPECT_EQ(caching.allocate({.bytes = 12_MiB}), ties == "age" ? older : newer);
    caching.deallocate(ties == "age" ? older : newer, {.bytes = 12_MiB});
  }
  EXPECT_THROW(Bench(64_GiB, {.ties = "size"}), std::invalid_argument);
}

TEST(Caching, PassesOnAnErrorOfTheDeviceAndBorrowsNothing) {
  Bench bench;
  bench.device.malloc_answer = Status::launch_failure;
  EXPECT_THROW(bench.take(1_MiB), DeviceError);
  EXPECT_EQ(bench.caching.reserved_bytes(), 0u);
  EXPECT_THAT(bench.decisions, IsEmpty());
}

TEST(Caching, AlignsBeyondItsGranularityAndTakesTheBlockBack) {
  Bench bench;
  bench.take(512);
  void* block = bench.caching.allocate({.bytes = 100, .alignment = 64_KiB});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 64_KiB, 0u);
  bench.caching.deallocate(block, {.bytes = 100, .alignment = 64_KiB});
  bench.give(0);
  EXPECT_EQ(bench.caching.trim(), 2_MiB);
  EXPECT_EQ(bench.caching.refused_frees(), 0u);
}

TEST(Caching, LeavesABlockAloneThatItDidNotLendAndCountsIt) {
  Bench bench;
  bench.take(1_MiB);
  bench.caching.deallocate(bench.at(512), {.bytes = 512});
  bench.give(0);
  bench.give(0);
  EXPECT_EQ(bench.caching.refused_frees(), 2u);
  EXPECT_EQ(bench.caching.free_blocks().size(), 1u);
}

TEST(Caching, RefusesRequestsOfNoBytesAndOfAnExabyteBeforeChangingAnything) {
  Bench bench;
  EXPECT_THROW(bench.take(0), std::invalid_argument);
  EXPECT_THROW(bench.take(std::size_t{1} << 60), OutOfMemory);
  EXPECT_THROW(bench.take(~std::size_t{0}), OutOfMemory);
  EXPECT_EQ(bench.device.mallocs(), 0u);
}

TEST(Caching, LeavesALeakedBlocksSegmentBorrowedWhenItEnds) {
  ScriptedDevice device;
  Direct direct(device, {});
  {
    Caching caching(direct, device, {});
    void* first = caching.allocate({.bytes = 12_MiB});
    (void)caching.allocate({.bytes = 14_MiB});
    caching.deallocate(first, {.bytes = 12_MiB});
  }
  EXPECT_EQ(device.used_bytes(), 14_MiB);
}

TEST(Caching, AgreesWithASearchOfAllFreeBlocksThroughRandomRequests) {
  Bench bench;
  std::vector<std::pair<std::uint64_t, std::size_t>> live;
  std::uint64_t random = 11;
  const auto draw = [&](std::uint64_t below) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return (random >> 33) % below;
  };
  std::size_t reused = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (live.size() > 200 || (!live.empty() && draw(5) < 2)) {
      const std::size_t victim = draw(live.size());
      bench.give(live[victim].first);
      live[victim] = live.back();
      live.pop_back();
      continue;
    }
    const std::uint64_t stream = draw(3);
    const std::size_t bytes = std::size_t{1} << draw(26) | draw(1000) | 1;
    const std::size_t rounded = round_up(bytes, 512);
    std::uint64_t expected = ~std::uint64_t{0};
    std::size_t best = ~std::size_t{0};
    for (const auto& block : bench.caching.free_blocks()) {
      if (block.stream != stream || block.bytes < rounded) continue;
      if (bench.is_in_small_segment(block.address) != (rounded <= 1_MiB)) continue;
      const std::uint64_t offset = block.address - ScriptedDevice::kBase;
      if (block.bytes < best || (block.bytes == best && offset < expected))
        best = block.bytes, expected = offset;
    }
    const std::uint64_t got = bench.take(bytes, stream);
    if (best != ~std::size_t{0}) {
      ASSERT_EQ(got, expected) << "step " << step;
      ++reused;
    }
    for (const auto& [offset, size] : live)
      ASSERT_TRUE(offset + size <= got || got + bytes <= offset) << "blocks overlap at step " << step;
    live.emplace_back(got, bytes);
  }
  EXPECT_GT(reused, 1000u);
  for (const auto& [offset, size] : live) bench.give(offset);
  bench.caching.trim();
  EXPECT_EQ(bench.device.used_bytes(), 0u);
  EXPECT_EQ(bench.caching.active_bytes(), 0u);
}

}  // namespace
}  // namespace drought
