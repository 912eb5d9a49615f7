// llama.cpp's VMM pool: the calls of a growth and their order, the figures of its growth under a growing
// context, what each refused step gives back, and frees in any order.
#include "allocators/vmm_pool.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/strike_gate.hpp"

namespace drought {
namespace {

using enum Site;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Bench {
  explicit Bench(VmmPool::Options options = {}, std::size_t room_bytes = 8_GiB)
      : device(make_host_device(profile_named("h200"),
                                {.work = Device::Work::shapes,
                                 .capacity_bytes = profile_named("h200").context_bytes + room_bytes})),
        gate(*device),
        pool(std::in_place, *device, options) {
    gate.keep_log();
  }

  void* take(std::size_t bytes, std::size_t alignment = 128) {
    return pool->allocate({.bytes = bytes, .alignment = alignment});
  }
  void give(void* block, std::size_t bytes) { pool->deallocate(block, {.bytes = bytes, .alignment = 128}); }
  /// Takes blocks of these sizes and gives them back in reverse, as RAII scratch does.
  void use(const std::vector<std::size_t>& sizes) {
    std::vector<void*> held;
    for (const std::size_t bytes : sizes) held.push_back(take(bytes));
    for (std::size_t i = held.size(); i-- > 0;) give(held[i], sizes[i]);
  }
  std::size_t offset(void* block) { return device->offset_of(block); }

  std::unique_ptr<Device> device;
  StrikeGate gate;
  std::optional<VmmPool> pool;
};

TEST(VmmPool, CreatesMemoryBeforeItReservesAddressesAndReservesOnce) {
  Bench bench;
  bench.take(1_MiB);
  EXPECT_THAT(bench.gate.take_log(),
              ElementsAre(cuMemCreate, cuMemAddressReserve, cuMemMap, cuMemRelease, cuMemSetAccess));
  bench.take(1_MiB);
  EXPECT_THAT(bench.gate.take_log(), IsEmpty()) << "2 MiB are mapped";
  bench.take(1);
  EXPECT_THAT(bench.gate.take_log(), ElementsAre(cuMemCreate, cuMemMap, cuMemRelease, cuMemSetAccess));
  EXPECT_EQ(bench.device->held_bytes(), 4_MiB);
}

struct Growth {
  std::size_t tokens, mapped_mib, grows;
};

// The trace of the legacy pool's figures, through this pool: the same scratch costs what it needs.
TEST(VmmPool, MapsTheHighWaterOfAGrowingContextAndNoMore) {
  for (const Growth& expected : {Growth{40'960, 88, 43}, Growth{262'144, 520, 259}}) {
    Bench bench;
    for (std::size_t begin = 0; begin < expected.tokens; begin += 128) {
      const std::size_t kv = round_up(begin + 128, 256);
      for (const std::size_t bytes : {313344, 608256, 2377728, 608256}) bench.use({bytes});
      bench.use({1024 * kv, 1024 * kv, 6291456, 49152});
    }
    EXPECT_EQ(bench.pool->mapped_bytes(), expected.mapped_mib * 1_MiB) << expected.tokens;
    EXPECT_EQ(bench.gate.made(cuMemCreate), expected.grows) << expected.tokens;
    EXPECT_EQ(bench.device->held_bytes(), bench.pool->mapped_bytes());
    EXPECT_EQ(bench.pool->used_bytes(), 0u);
  }
}

TEST(VmmPool, CutsBlocksAt128BytesUnlessMoreIsAskedFor) {
  Bench bench;
  void* const first = bench.take(1);
  EXPECT_EQ(bench.offset(bench.take(100)), bench.offset(first) + 128);
  EXPECT_EQ(bench.offset(bench.take(1, 4096)), bench.offset(first) + 4096);
  EXPECT_EQ(bench.offset(bench.take(1)), bench.offset(first) + 4096 + 128);
  EXPECT_THROW(bench.take(1, 4_MiB), std::invalid_argument);
}

TEST(VmmPool, NeverShrinksUntilItEnds) {
  Bench bench;
  bench.use({100_MiB});
  bench.use({1});
  EXPECT_EQ(bench.device->held_bytes(), 100_MiB);
  ASSERT_THAT(bench.pool->free_blocks(), testing::SizeIs(1));
  EXPECT_EQ(bench.pool->free_blocks()[0].bytes, 100_MiB);
  bench.gate.take_log();
  bench.pool.reset();
  EXPECT_THAT(bench.gate.take_log(), ElementsAre(cudaDeviceSynchronize, cuMemUnmap, cuMemAddressFree));
  EXPECT_EQ(bench.device->held_bytes(), 0u);
}

TEST(VmmPool, LetsABlockFreedBelowTheTopWaitForThoseAboveIt) {
  Bench bench;
  void* const bottom = bench.take(1_MiB);
  void* const middle = bench.take(1_MiB);
  void* const top = bench.take(1_MiB);
  bench.give(bottom, 1_MiB);
  bench.give(middle, 1_MiB);
  EXPECT_EQ(bench.pool->used_bytes(), 3_MiB);
  EXPECT_NE(bench.take(1), bottom) << "above the top, never in a block that waits";
  EXPECT_EQ(bench.pool->used_bytes(), 3_MiB + 128);
  bench.give(top, 1_MiB);
  EXPECT_EQ(bench.pool->used_bytes(), 3_MiB + 128);
  bench.give(reinterpret_cast<std::byte*>(top) + 1_MiB, 1);
  EXPECT_EQ(bench.pool->used_bytes(), 0u);
  EXPECT_EQ(bench.take(3_MiB), bottom);
}

TEST(VmmPool, RefusesAFreeThatItDoesNotKnowAndIsNotHarmed) {
  Bench bench;
  void* const block = bench.take(1_MiB);
  bench.take(1_MiB);
  bench.give(block, 1_MiB);
  bench.give(block, 1_MiB);
  bench.give(&bench, 1);
  EXPECT_EQ(bench.pool->refused_frees(), 2u);
  EXPECT_EQ(bench.pool->lent_blocks(), 1u);
  EXPECT_EQ(bench.pool->used_bytes(), 2_MiB);
}

struct Step {
  Site site;
  Status error;
  const char* says;
};

const Step kSteps[] = {
    {cuMemCreate, Status::memory_allocation, "cuMemCreate of 64.00 MiB was refused"},
    {cuMemAddressReserve, Status::memory_allocation, "cuMemAddressReserve of 32.00 GiB was refused"},
    {cuMemMap, Status::memory_allocation, "cuMemMap of 64.00 MiB was refused"},
    {cuMemSetAccess, Status::invalid_value, "cuMemSetAccess answered cudaErrorInvalidValue"},
};

TEST(VmmPool, UnwindsEachRefusedStepOfItsFirstGrowthToNothing) {
  for (const Step& step : kSteps) {
    Bench bench;
    bench.gate.arm(step.site, step.error);
    try {
      bench.take(64_MiB);
      ADD_FAILURE() << name(step.site);
    } catch (const std::exception& error) {
      EXPECT_THAT(error.what(), HasSubstr(step.says));
    }
    EXPECT_EQ(bench.device->held_bytes(), 0u) << name(step.site);
    EXPECT_EQ(bench.gate.made(cuMemAddressFree),
              bench.gate.made(cuMemAddressReserve) - (step.site == cuMemAddressReserve));
    EXPECT_EQ(bench.device->take_last_error(), Status::success) << name(step.site);
    EXPECT_EQ(bench.pool->used_bytes(), 0u);
    bench.give(bench.take(64_MiB), 64_MiB);
    EXPECT_EQ(bench.device->held_bytes(), 64_MiB) << "and then it grows as if nothing had happened";
  }
}

TEST(VmmPool, UnwindsEachRefusedStepOfALaterGrowthToWhatItHad) {
  for (const Step& step : kSteps) {
    if (step.site == cuMemAddressReserve) continue;
    Bench bench;
    void* const kept = bench.take(2_MiB);
    bench.gate.arm(step.site, step.error);
    EXPECT_ANY_THROW(bench.take(64_MiB)) << name(step.site);
    EXPECT_EQ(bench.pool->mapped_bytes(), 2_MiB) << name(step.site);
    EXPECT_EQ(bench.device->held_bytes(), 2_MiB) << name(step.site);
    EXPECT_EQ(bench.gate.made(cuMemAddressFree), 0u);
    EXPECT_EQ(bench.offset(bench.take(64_MiB)), bench.offset(kept) + 2_MiB);
  }
}

TEST(VmmPool, KeepsWhatARefusedStepTookWithTheBugThatSaysSo) {
  for (const Step& step : kSteps) {
    Bench bench({.bug = "no_unwind"});
    bench.gate.arm(step.site, step.error);
    EXPECT_ANY_THROW(bench.take(64_MiB));
    bench.pool.reset();
    EXPECT_EQ(bench.device->held_bytes() != 0, step.site != cuMemCreate) << name(step.site);
  }
}

TEST(VmmPool, LendsOneAddressTwiceWithTheBugThatPopsAnyBlock) {
  Bench bench({.bug = "pops_any"});
  void* const bottom = bench.take(1_MiB);
  void* const top = bench.take(1_MiB);
  bench.give(bottom, 1_MiB);
  EXPECT_EQ(bench.take(1_MiB), top) << "which is lent";
}

TEST(VmmPool, RunsOutOfAddressesBeforeItRunsOutOfMemory) {
  Bench bench({.reservation_bytes = 8_MiB});
  bench.take(6_MiB);
  try {
    bench.take(3_MiB);
    FAIL();
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("does not fit the 8.00 MiB of addresses"));
  }
  EXPECT_EQ(bench.device->held_bytes(), 6_MiB);
  EXPECT_THROW(bench.take(SIZE_MAX), OutOfMemory) << "and no sum wraps";
  bench.take(2_MiB);
}

TEST(VmmPool, KeepsEverythingMappedWhileABlockIsLentAtItsEnd) {
  Bench bench;
  bench.take(1_MiB);
  bench.pool.reset();
  EXPECT_EQ(bench.device->held_bytes(), 2_MiB) << "where the teardown shows it";
}

TEST(VmmPool, RefusesOptionsThatCannotBe) {
  EXPECT_THROW(Bench({.reservation_bytes = 1_MiB}), std::invalid_argument);
  EXPECT_THROW(Bench({.bug = "unwind"}), std::invalid_argument);
}

}  // namespace
}  // namespace drought
