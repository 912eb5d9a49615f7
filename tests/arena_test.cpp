// RMM's arenas: who owns which superblock, what a failure gives up, and drawn calls beside a model that
// searches one list of all superblocks.
#include "allocators/arena.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "allocators/direct.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Bench {
  explicit Bench(std::size_t arena_bytes, std::size_t capacity_bytes = 64_GiB)
      : device(capacity_bytes), direct(device, {}), arena(direct, device, {.arena_bytes = arena_bytes}) {}

  std::uint64_t take(std::size_t bytes, std::uint64_t stream = 0) {
    void* const block = arena.allocate({.bytes = bytes, .stream = {stream}});
    requests[device.offset_of(block)] = {.bytes = bytes, .stream = {stream}};
    return device.offset_of(block);
  }
  void* at(std::uint64_t offset) const { return reinterpret_cast<void*>(ScriptedDevice::kBase + offset); }
  void give(std::uint64_t offset) { arena.deallocate(at(offset), requests.at(offset)); }
  /// "owner offset bytes" of every hole.
  std::vector<std::string> holes() const {
    std::vector<std::string> found;
    for (const auto& block : arena.free_blocks())
      found.push_back((block.stream == Arena::kGlobal ? "global" : std::to_string(block.stream)) + " " +
                      std::to_string(block.address - ScriptedDevice::kBase) + " " +
                      std::to_string(block.bytes));
    return found;
  }

  ScriptedDevice device;
  Direct direct;
  Arena arena;
  std::map<std::uint64_t, Request> requests;
};

TEST(Arena, BorrowsItsWholeSlabAtOnceAndByDefaultHalfOfWhatIsFree) {
  EXPECT_EQ(Bench(5_MiB).device.used_bytes(), 5_MiB);
  EXPECT_EQ(Bench(5_MiB + 100).arena.arena_bytes(), 5_MiB) << "rounded down to 256 B";
  EXPECT_EQ(Bench(0, 10_GiB).arena.arena_bytes(), 5_GiB);
  EXPECT_THROW(Bench(1_MiB - 256), std::invalid_argument);
  EXPECT_THROW(Bench(5_MiB, 4_MiB), OutOfMemory);
}

TEST(Arena, GivesEachStreamASuperblockOfItsOwnForSmallBlocks) {
  Bench bench(8_MiB);
  EXPECT_EQ(bench.take(256, 1), 0u);
  EXPECT_EQ(bench.take(256, 2), 1_MiB);
  EXPECT_EQ(bench.take(1_MiB - 256, 1), 256u) << "to the last byte";
  EXPECT_EQ(bench.take(1, 1), 2_MiB);
  EXPECT_THAT(bench.holes(), ElementsAre("global 3145728 5242880", "1 2097408 1048320", "2 1048832 1048320"));
}

TEST(Arena, ServesMoreThanASuperblockFromTheGlobalArenaAndJoinsItAgainAfterItsStreamIsDone) {
  Bench bench(8_MiB);
  EXPECT_EQ(bench.take(1_MiB + 1, 1), 0u);
  EXPECT_EQ(bench.take(3_MiB, 1), 1_MiB + 256);
  EXPECT_THAT(bench.holes(), ElementsAre("global 4194560 4194048"));
  bench.give(0);
  bench.give(1_MiB + 256);
  EXPECT_THAT(bench.holes(), ElementsAre("global 0 8388608"));
  EXPECT_THAT(bench.device.waits, ElementsAre("host for stream 1", "host for stream 1"));
}

TEST(Arena, LeavesATailOfLessThanASuperblockWithTheBlockBeforeIt) {
  Bench bench(4_MiB);
  EXPECT_EQ(bench.take(3_MiB + 256, 1), 0u);
  EXPECT_EQ(bench.take(512, 2), 3_MiB + 256) << "the rest of the large block's superblock is acquired";
  bench.give(0);
  EXPECT_THAT(bench.holes(), ElementsAre("2 0 3145984", "2 3146496 1047808"));
  EXPECT_THAT(bench.device.waits, ElementsAre("host for stream 1"));
}

TEST(Arena, TakesTheFirstHoleByAddressThoughALaterOneFitsBetter) {
  Bench bench(2_MiB);
  for (const std::size_t bytes : {1024, 256, 256, 256}) bench.take(bytes);
  bench.give(0);
  bench.give(1280);
  EXPECT_EQ(bench.take(256), 0u);
}

TEST(Arena, KeepsAnEmptySuperblockWithItsStreamUntilSomebodyFails) {
  Bench bench(2_MiB);
  bench.take(256, 1);
  bench.take(256, 2);
  bench.give(0);
  EXPECT_EQ(bench.take(256, 1), 0u);
  bench.give(0);
  EXPECT_EQ(bench.arena.defragmentations(), 0u);
  EXPECT_EQ(bench.take(1_MiB, 2), 0u) << "stream 1 gave its superblock up";
  EXPECT_EQ(bench.arena.defragmentations(), 1u);
  EXPECT_EQ(bench.device.synchronizes(), 1u);
}

TEST(Arena, FailsWithItsFiguresWhenNoSuperblockIsLargeEnoughAfterDefragmentingOnce) {
  Bench bench(4_MiB);
  for (const std::uint64_t stream : {1, 2, 3, 4}) bench.take(256, stream);
  try {
    bench.take(1_MiB + 256, 1);
    FAIL() << "small blocks pin every superblock";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("4193280 of 4194304 B idle, the largest hole 1048320 B"));
  }
  EXPECT_EQ(bench.arena.defragmentations(), 1u);
  for (const auto& [offset, request] : bench.requests) bench.give(offset);
  EXPECT_EQ(bench.take(4_MiB, 1), 0u);
}

TEST(Arena, TakesABlockBackWhoseSuperblockBelongsToAnotherArenaAfterItsStreamIsDone) {
  Bench bench(2_MiB);
  bench.take(256, 1);
  bench.take(256, 2);
  EXPECT_THROW(bench.take(2_MiB, 3), OutOfMemory);
  EXPECT_THAT(bench.holes(), ElementsAre("global 256 1048320", "global 1048832 1048320"));
  bench.give(0);
  EXPECT_THAT(bench.device.waits, ElementsAre("host for stream 1"));
  EXPECT_THAT(bench.holes(), ElementsAre("global 0 1048576", "global 1048832 1048320"));
}

TEST(Arena, DefragmentsNothingWhenTheDeviceCannotBeWaitedFor) {
  Bench bench(2_MiB);
  bench.take(256, 1);
  const auto before = bench.holes();
  bench.device.synchronize_answer = Status::launch_failure;
  EXPECT_THROW(bench.take(2_MiB, 2), DeviceError);
  EXPECT_EQ(bench.holes(), before);
}

TEST(Arena, SetsABlockAsideWhoseStreamCannotBeWaitedForUntilTheDeviceCan) {
  Bench bench(2_MiB);
  bench.take(2_MiB, 1);
  bench.device.stream_synchronize_answer = Status::invalid_resource_handle;
  bench.give(0);
  EXPECT_THAT(bench.arena.take_fallback(), HasSubstr("set aside"));
  EXPECT_THAT(bench.holes(), IsEmpty());
  EXPECT_EQ(bench.take(1, 2), 0u);
  EXPECT_EQ(bench.device.synchronizes(), 1u);
}

TEST(Arena, RefusesWhatItCannotServeAndLendsABlockThatWasFreedTwiceOnce) {
  Bench bench(2_MiB);
  EXPECT_THROW(bench.take(0), std::invalid_argument);
  EXPECT_THROW(bench.take(~std::size_t{0}), OutOfMemory);
  EXPECT_THROW(bench.arena.allocate({.bytes = 1, .alignment = 512}), std::invalid_argument);
  bench.take(512);
  bench.give(0);
  bench.give(0);
  bench.arena.deallocate(bench.at(256), {.bytes = 256});
  EXPECT_EQ(bench.arena.refused_frees(), 2u);
  EXPECT_EQ(bench.take(512), 0u);
  EXPECT_EQ(bench.take(512), 512u);
}

TEST(Arena, LeavesItsSlabBorrowedWhenABlockIsStillLentAtItsEnd) {
  ScriptedDevice device;
  Direct direct(device, {});
  (void)Arena(direct, device, {.arena_bytes = 1_MiB}).allocate({.bytes = 1});
  EXPECT_EQ(device.used_bytes(), 1_MiB);
}

/// All superblocks in one list by address, each with an owner and a map of its bytes in steps of 256.
class Model {
 public:
  explicit Model(std::size_t bytes) { all_.push_back({0, std::vector<bool>(bytes / 256), kNobody}); }

  std::optional<std::uint64_t> allocate(std::size_t bytes, std::uint64_t stream) {
    const std::size_t units = (bytes + 255) / 256;
    if (const auto at = try_allocate(units, stream)) return at;
    for (Super& super : all_) super.owner = kNobody;
    join();
    return try_allocate(units, stream);
  }
  void free(std::uint64_t offset, std::size_t bytes) {
    for (Super& super : all_) {
      if (offset < super.begin * 256 || offset >= (super.begin + super.used.size()) * 256) continue;
      for (std::size_t i = 0; i < (bytes + 255) / 256; ++i)
        super.used[offset / 256 - super.begin + i] = false;
    }
    join();
  }

 private:
  static constexpr std::uint64_t kNobody = ~std::uint64_t{0};
  static constexpr std::size_t kUnits = 4096;  // 1 MiB
  struct Super {
    std::size_t begin;
    std::vector<bool> used;
    std::uint64_t owner;
    bool empty() const { return std::find(used.begin(), used.end(), true) == used.end(); }
    std::optional<std::size_t> hole(std::size_t units) const {
      for (std::size_t i = 0, run = 0; i < used.size(); ++i)
        if ((run = used[i] ? 0 : run + 1) == units) return i + 1 - units;
      return {};
    }
  };

  std::optional<std::uint64_t> try_allocate(std::size_t units, std::uint64_t stream) {
    if (units <= kUnits)
      for (Super& super : all_)
        if (super.owner == stream && super.hole(units)) return take(super, units);
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (all_[i].owner != kNobody || !all_[i].hole(units)) continue;
      const std::size_t least = std::max(units, kUnits);
      if (all_[i].empty() && all_[i].used.size() >= least + kUnits) {
        const Super tail{all_[i].begin + least, std::vector<bool>(all_[i].used.size() - least), kNobody};
        all_[i].used.resize(least);
        all_.insert(all_.begin() + static_cast<std::ptrdiff_t>(i) + 1, tail);
      }
      if (units <= kUnits) all_[i].owner = stream;
      return take(all_[i], units);
    }
    return {};
  }
  static std::uint64_t take(Super& super, std::size_t units) {
    const std::size_t at = *super.hole(units);
    for (std::size_t i = 0; i < units; ++i) super.used[at + i] = true;
    return (super.begin + at) * 256;
  }
  void join() {
    for (std::size_t i = 1; i < all_.size();) {
      Super &before = all_[i - 1], &after = all_[i];
      if (before.owner != kNobody || after.owner != kNobody || !before.empty() || !after.empty()) {
        ++i;
        continue;
      }
      before.used.resize(before.used.size() + after.used.size());
      all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  std::vector<Super> all_;
};

using Drawn = std::tuple<std::uint8_t, std::uint8_t, std::uint32_t>;

TEST(Arena, AgreesWithOneListOfAllSuperblocksOverAnyOrderOfCalls) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls) {
    Bench bench(6_MiB);
    Model model(6_MiB);
    std::vector<std::uint64_t> live;
    for (const auto& [what, which, size] : calls) {
      if (what % 5 < 2 && !live.empty()) {
        const std::uint64_t offset = live[which % live.size()];
        std::erase(live, offset);
        bench.give(offset);
        model.free(offset, bench.requests.at(offset).bytes);
        continue;
      }
      const std::size_t bytes = 1 + size % (std::size_t{1} << (8 + which % 14));
      std::optional<std::uint64_t> got;
      try {
        got = bench.take(bytes, what / 8 % 3);
      } catch (const OutOfMemory&) {
      }
      RC_ASSERT(got == model.allocate(bytes, what / 8 % 3));
      if (got) live.push_back(*got);
    }
    for (const std::uint64_t offset : live) bench.give(offset);
    if (!calls.empty()) RC_ASSERT(bench.take(6_MiB) == 0u);
  }));
}

}  // namespace
}  // namespace drought
