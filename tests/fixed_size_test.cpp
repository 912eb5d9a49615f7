// RMM's blocks of one size and its bins of them: chunks, order, streams, refusals, and drawn calls beside
// a model of the lists.
#include "allocators/fixed_size.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <set>

#include "allocators/binning.hpp"
#include "allocators/direct.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Chunks of four blocks of 1 KiB; the device lends in steps of 2 MiB.
struct Bench {
  explicit Bench(FixedSize::Options options = {.block_bytes = 1_KiB, .blocks_to_preallocate = 4},
                 std::size_t capacity_bytes = 64_GiB)
      : device(capacity_bytes), direct(device, {}), fixed(direct, device, options) {}
  std::uint64_t take(std::size_t bytes = 1, std::uint64_t stream = 0) {
    return device.offset_of(fixed.allocate({.bytes = bytes, .stream = {stream}}));
  }
  void give(std::uint64_t offset, std::uint64_t stream = 0) {
    fixed.deallocate(reinterpret_cast<void*>(ScriptedDevice::kBase + offset),
                     {.bytes = 1, .stream = {stream}});
  }
  ScriptedDevice device;
  Direct direct;
  FixedSize fixed;
};

TEST(FixedSize, BorrowsAChunkAtOnceAndTheNextWhenNoBlockIsLeft) {
  Bench bench;
  EXPECT_EQ(bench.device.used_bytes(), 4_KiB);
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(bench.take(), i * 1_KiB);
  EXPECT_EQ(bench.fixed.chunks(), 1u);
  EXPECT_EQ(bench.take(), 2_MiB);
  EXPECT_EQ(bench.device.used_bytes(), 8_KiB);
  EXPECT_EQ(bench.fixed.free_blocks(), 3u);
}

TEST(FixedSize, LendsTheBlockThatHasBeenFreeForLongest) {
  Bench bench;
  for (int i = 0; i < 3; ++i) bench.take();
  bench.give(2_KiB);
  bench.give(0);
  EXPECT_EQ(bench.take(), 3_KiB);
  EXPECT_EQ(bench.take(), 2_KiB);
  EXPECT_EQ(bench.take(), 0u);
}

TEST(FixedSize, RefusesMoreThanABlockAndBorrowsNothingForIt) {
  Bench bench;
  EXPECT_EQ(bench.take(1_KiB), 0u);
  try {
    bench.take(1_KiB + 1);
    FAIL() << "more than a block was lent";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("blocks have 1024 B"));
  }
  EXPECT_EQ(bench.device.mallocs(), 1u);
  EXPECT_EQ(bench.fixed.request_bytes_max(), 1_KiB);
}

TEST(FixedSize, RoundsItsBlocksTo256BytesAndRefusesOptionsThatCannotBe) {
  EXPECT_EQ(Bench({.block_bytes = 257, .blocks_to_preallocate = 2}).take(512), 0u);
  EXPECT_THROW(Bench({.block_bytes = 0}), std::invalid_argument);
  EXPECT_THROW(Bench({.blocks_to_preallocate = 0}), std::invalid_argument);
  EXPECT_THROW(Bench({.block_bytes = 1_TiB, .blocks_to_preallocate = std::size_t{1} << 30}),
               std::invalid_argument);
  Bench bench;
  EXPECT_THROW(bench.fixed.allocate({.bytes = 1, .alignment = 512}), std::invalid_argument);
}

TEST(FixedSize, WaitsForTheOtherStreamBeforeItTakesFromItsList) {
  Bench bench;
  for (int i = 0; i < 4; ++i) bench.take(1, 1);
  bench.give(2_KiB, 1);
  EXPECT_EQ(bench.take(1, 2), 2_KiB);
  EXPECT_THAT(bench.device.waits, ElementsAre("stream 2 for event 1"));
}

TEST(FixedSize, LendsABlockThatWasFreedTwiceOnce) {
  Bench bench;
  for (int i = 0; i < 4; ++i) bench.take();
  bench.give(0);
  bench.give(0);
  bench.give(512);
  EXPECT_EQ(bench.fixed.refused_frees(), 2u);
  EXPECT_EQ(bench.take(), 0u);
  EXPECT_EQ(bench.take(), 2_MiB);
}

TEST(FixedSize, LeavesAChunkBorrowedInWhichABlockIsStillLentWhenItEnds) {
  ScriptedDevice device;
  Direct direct(device, {});
  {
    FixedSize fixed(direct, device, {.block_bytes = 1_KiB, .blocks_to_preallocate = 1});
    (void)fixed.allocate({.bytes = 1});
    fixed.deallocate(fixed.allocate({.bytes = 1}), {.bytes = 1});
  }
  EXPECT_EQ(device.used_bytes(), 1_KiB);
  EXPECT_EQ(device.live_events(), 0u);
}

TEST(FixedSize, KeepsWhatItHasWhenTheNextChunkIsRefused) {
  Bench bench({.block_bytes = 1_KiB, .blocks_to_preallocate = 4}, 6_KiB);
  for (int i = 0; i < 4; ++i) bench.take();
  EXPECT_THROW(bench.take(), OutOfMemory);
  bench.give(1_KiB);
  EXPECT_EQ(bench.take(), 1_KiB);
}

using Drawn = std::pair<std::uint8_t, std::uint8_t>;

TEST(FixedSize, AgreesWithQueuesByStreamOverAnyOrderOfCalls) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls) {
    Bench bench;
    std::map<std::uint64_t, std::vector<std::uint64_t>> queues{{0, {0, 1_KiB, 2_KiB, 3_KiB}}};
    std::vector<std::uint64_t> seen{0}, live;
    std::set<std::uint64_t> lent;
    std::uint64_t chunks = 1;
    for (const auto& [what, which] : calls) {
      const std::uint64_t stream = which % 3;
      if (std::find(seen.begin(), seen.end(), stream) == seen.end()) seen.push_back(stream);
      if (what % 2 == 0 && !live.empty()) {
        const std::uint64_t offset = live[which % live.size()];
        std::erase(live, offset);
        lent.erase(offset);
        bench.give(offset, stream);
        queues[stream].push_back(offset);
        continue;
      }
      std::vector<std::uint64_t>* from = &queues[stream];
      for (const std::uint64_t other : seen)
        if (from->empty()) from = &queues[other];
      if (from->empty()) {
        from = &queues[stream];
        for (std::uint64_t i = 0; i < 4; ++i) from->push_back(chunks * 2_MiB + i * 1_KiB);
        ++chunks;
      }
      const std::uint64_t offset = bench.take(1, stream);
      RC_ASSERT(offset == from->front());
      RC_ASSERT(lent.insert(offset).second);
      from->erase(from->begin());
      live.push_back(offset);
      RC_ASSERT(bench.fixed.chunks() == chunks);
      RC_ASSERT(bench.fixed.free_blocks() == chunks * 4 - live.size());
    }
  }));
}

struct Bins {
  explicit Bins(Binning::Options options = {.min_exponent = 8,
                                            .max_exponent = 12,
                                            .blocks_to_preallocate = 2})
      : direct(device, {}), binning(direct, device, options) {}
  ScriptedDevice device;
  Direct direct;
  Binning binning;
};

TEST(Binning, BorrowsAChunkForEveryBinBeforeAnythingIsAskedFor) {
  Bins bins;
  EXPECT_EQ(bins.binning.bins(), 5u);
  EXPECT_EQ(bins.device.used_bytes(), 2 * (256u + 512 + 1024 + 2048 + 4096));
  Bins shown({.min_exponent = 18, .max_exponent = 22});
  EXPECT_EQ(shown.device.used_bytes(), 992_MiB) << "128 blocks of 256 KiB to 4 MiB";
}

TEST(Binning, ServesARequestFromTheSmallestBinThatHoldsItAndAboveThemFromUpstream) {
  Bins bins;
  const std::pair<std::size_t, std::size_t> kPlaces[] = {{1, 0}, {256, 0}, {257, 1}, {2048, 3}, {2049, 4}};
  for (const auto& [bytes, bin] : kPlaces) {
    const std::size_t before = bins.binning.bin(bin).free_blocks();
    void* const block = bins.binning.allocate({.bytes = bytes});
    EXPECT_EQ(bins.binning.bin(bin).free_blocks(), before - 1) << bytes;
    bins.binning.deallocate(block, {.bytes = bytes});
    EXPECT_EQ(bins.binning.bin(bin).free_blocks(), before) << bytes;
  }
  const std::size_t mallocs = bins.device.mallocs();
  void* const large = bins.binning.allocate({.bytes = 4097});
  EXPECT_EQ(bins.device.mallocs(), mallocs + 1);
  bins.binning.deallocate(large, {.bytes = 4097});
  EXPECT_EQ(bins.device.frees(), 1u) << "what no bin holds is not kept";
}

TEST(Binning, BorrowsForAnEmptyBinThoughTheNextOneHasBlocks) {
  Bins bins;
  for (int i = 0; i < 3; ++i) (void)bins.binning.allocate({.bytes = 300});
  EXPECT_EQ(bins.binning.bin(1).chunks(), 2u);
  EXPECT_EQ(bins.binning.bin(2).free_blocks(), 2u);
}

TEST(Binning, RefusesABlockThatWasFreedWithTheSizeOfAnotherBin) {
  Bins bins;
  void* const block = bins.binning.allocate({.bytes = 300});
  bins.binning.deallocate(block, {.bytes = 2000});
  EXPECT_EQ(bins.binning.bin(3).refused_frees(), 1u);
  EXPECT_EQ(bins.binning.bin(3).free_blocks(), 2u);
  EXPECT_EQ(bins.binning.bin(1).free_blocks(), 1u) << "it is still lent";
}

TEST(Binning, GivesBackTheBinsItHasWhenTheNextOneIsRefused) {
  ScriptedDevice device(8_KiB);
  Direct direct(device, {});
  EXPECT_THROW(Binning(direct, device, {.min_exponent = 8, .max_exponent = 12, .blocks_to_preallocate = 2}),
               OutOfMemory);
  EXPECT_EQ(device.used_bytes(), 0u);
  for (const auto& [least, most] : {std::pair<std::size_t, std::size_t>{7, 9}, {9, 8}, {9, 41}})
    EXPECT_THROW(Binning(direct, device, {.min_exponent = least, .max_exponent = most}),
                 std::invalid_argument);
}

}  // namespace
}  // namespace drought
