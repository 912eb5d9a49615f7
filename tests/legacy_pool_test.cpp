// llama.cpp's legacy pool under the scratch of flash attention over a quantised KV cache, which grows
// with the context. The figures come from the original class, compiled against a stub runtime.
#include "allocators/legacy_pool.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "allocators/direct.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

constexpr std::size_t kBytesPerToken = 1024;  // Of K, and of V again: 2 KV heads of 256, in f16.

/// A pool over a device that lends up to a cap.
struct Bench {
  explicit Bench(std::size_t cap_bytes = std::size_t{1} << 45, LegacyPool::Options options = {})
      : device(cap_bytes), direct(device, {}), pool(direct, device, options) {}

  void* take(std::size_t bytes) { return pool.allocate({.bytes = bytes}); }
  void give(void* block, std::size_t bytes) { pool.deallocate(block, {.bytes = bytes}); }

  /// Takes blocks of these sizes and gives them back in reverse, as RAII scratch does.
  void use(const std::vector<std::size_t>& sizes) {
    std::vector<std::pair<void*, std::size_t>> held;
    try {
      for (const std::size_t bytes : sizes) held.emplace_back(take(bytes), bytes);
    } catch (...) {
      give_back(held);
      throw;
    }
    give_back(held);
  }

  void give_back(const std::vector<std::pair<void*, std::size_t>>& held) {
    for (auto block = held.rbegin(); block != held.rend(); ++block) give(block->first, block->second);
  }

  ScriptedDevice device;
  Direct direct;
  LegacyPool pool;
};

std::size_t kv_length(std::size_t tokens) { return round_up(tokens, 256); }

/// Prefills token by token batch, the attention scratch alone.
void prefill_pair(Bench& bench, std::size_t tokens, std::size_t batch) {
  for (std::size_t done = batch; done <= tokens; done += batch) {
    const std::size_t bytes = kBytesPerToken * kv_length(done);
    bench.use({bytes, bytes});
  }
}

struct Failure {
  std::size_t token = 0, kv = 0;
  std::string message;
};

/// Prefills in batches of 128 with the activations of the matrix products and the partial outputs of
/// three parallel blocks; the batch in which memory ran out, if any.
std::optional<Failure> prefill_whole(Bench& bench, std::size_t tokens) {
  for (std::size_t begin = 0; begin < tokens; begin += 128) {
    const std::size_t kv = kv_length(begin + 128);
    try {
      for (const std::size_t bytes : {313344, 608256, 2377728, 608256}) bench.use({bytes});
      bench.use({kBytesPerToken * kv, kBytesPerToken * kv, 6291456, 49152});
    } catch (const OutOfMemory& error) {
      return Failure{begin + 128, kv, error.what()};
    }
  }
  return std::nullopt;
}

double in_mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

struct Growth {
  std::size_t tokens, batch;
  double reserved_mib;
  std::size_t mallocs;
};

TEST(LegacyPool, StrandsAPairAtEveryStepOfAGrowingContext) {
  for (const Growth& expected : {Growth{40'960, 128, 1395.5, 108}, Growth{40'960, 512, 1226.4, 82},
                                 Growth{40'960, 1024, 1092.0, 60}, Growth{262'144, 128, 10'440.2, 182},
                                 Growth{262'144, 512, 10'082.1, 154}, Growth{262'144, 1024, 9'395.4, 126}}) {
    Bench bench;
    prefill_pair(bench, expected.tokens, expected.batch);
    EXPECT_NEAR(in_mib(bench.pool.reserved_bytes()), expected.reserved_mib, 0.05) << expected.batch;
    EXPECT_EQ(bench.device.mallocs(), expected.mallocs) << expected.batch;
    EXPECT_EQ(bench.device.used_bytes(), bench.pool.reserved_bytes());
  }
}

TEST(LegacyPool, HoldsMostOfThisAlsoBesideTheOtherScratchOfABatch) {
  Bench bench;
  EXPECT_FALSE(prefill_whole(bench, 40'960));
  EXPECT_NEAR(in_mib(bench.pool.reserved_bytes()), 1283.3, 0.05);
  EXPECT_EQ(bench.device.mallocs(), 70u);
}

TEST(LegacyPool, RunsOutNear41000TokensUnder1320MiBWithoutItsFlush) {
  for (const std::size_t cap_mib : {1290, 1320, 1360}) {
    Bench bench(cap_mib * 1_MiB, {.flush_and_retry = false});
    const auto failure = prefill_whole(bench, 262'144);
    ASSERT_TRUE(failure) << cap_mib;
    EXPECT_EQ(failure->token, 41'344u) << cap_mib;
    EXPECT_EQ(failure->kv, 41'472u) << cap_mib;
    EXPECT_THAT(failure->message, HasSubstr("42.53 MiB")) << "what the pool asked for, look-ahead included";
    EXPECT_EQ(bench.device.synchronizes(), 0u);
  }
}

struct Cap {
  std::size_t cap_mib;
  std::size_t without_flush;              ///< The token at which memory runs out.
  std::optional<std::size_t> with_flush;  ///< Likewise; none when all 262,144 tokens fit.
};

TEST(LegacyPool, GoesMuchFurtherUnderTheSameCapWithItsFlush) {
  for (const Cap& expected : {Cap{1024, 33'664, {}}, Cap{1370, 43'648, {}}, Cap{528, 20'608, {}},
                              Cap{512, 20'608, std::size_t{253'824}}}) {
    Bench plain(expected.cap_mib * 1_MiB, {.flush_and_retry = false});
    const auto stopped = prefill_whole(plain, 262'144);
    ASSERT_TRUE(stopped);
    EXPECT_EQ(stopped->token, expected.without_flush) << expected.cap_mib;
    Bench flushing(expected.cap_mib * 1_MiB);
    const auto failure = prefill_whole(flushing, 262'144);
    EXPECT_EQ(failure.has_value(), expected.with_flush.has_value()) << expected.cap_mib;
    if (!failure || !expected.with_flush) continue;
    EXPECT_EQ(failure->token, *expected.with_flush);
    EXPECT_THAT(failure->message, HasSubstr("260.40 MiB"));
  }
}

TEST(LegacyPool, FlushesAsOftenAsTheOriginal) {
  Bench at_1320(1320_MiB);
  EXPECT_FALSE(prefill_whole(at_1320, 262'144));
  EXPECT_EQ(at_1320.pool.flushes(), 8u);
  EXPECT_EQ(at_1320.device.synchronizes(), 8u);
  Bench at_1024(1024_MiB);
  EXPECT_FALSE(prefill_whole(at_1024, 262'144));
  EXPECT_EQ(at_1024.pool.flushes(), 10u);
  // Each flush begins with a cudaMalloc that was refused.
  EXPECT_EQ(at_1024.device.mallocs() - at_1024.pool.flushes(), 164u);
  EXPECT_EQ(at_1024.device.frees(), 158u);
  Bench at_528(528_MiB);
  EXPECT_FALSE(prefill_whole(at_528, 262'144));
  EXPECT_EQ(at_528.pool.flushes(), 24u);
}

TEST(LegacyPool, TakesTheTightestIdleBlockAndAsksForFivePercentMoreOnAMiss) {
  Bench bench;
  void* large = bench.take(100'000);
  void* small = bench.take(50'000);
  EXPECT_EQ(bench.device.used_bytes(), 105'216u + 52'736u) << "1.05 times, rounded up to 256";
  bench.give(large, 100'000);
  bench.give(small, 50'000);
  EXPECT_EQ(bench.take(52'737), large);
  EXPECT_EQ(bench.take(52'736), small);
  EXPECT_EQ(bench.device.mallocs(), 2u);
}

TEST(LegacyPool, NeverUsesABlockWith64GiBToSpare) {
  Bench bench;
  // Asked for through its own look-ahead, so the idle block is a little larger than this.
  void* huge = bench.take(64_GiB);
  bench.give(huge, 64_GiB);
  const std::size_t idle_bytes = bench.pool.reserved_bytes();
  EXPECT_NE(bench.take(idle_bytes - 64_GiB), huge);
  EXPECT_EQ(bench.take(idle_bytes - 64_GiB + 1), huge);
}

TEST(LegacyPool, Keeps256IdleBlocksAndGivesTheOthersBackAtOnce) {
  Bench bench;
  std::vector<void*> blocks;
  for (int i = 0; i < 300; ++i) blocks.push_back(bench.take(1000));
  for (void* block : blocks) bench.give(block, 1000);
  EXPECT_EQ(bench.pool.idle_blocks(), 256u);
  EXPECT_EQ(bench.device.frees(), 44u);
  EXPECT_EQ(bench.pool.reserved_bytes(), bench.device.used_bytes());
}

TEST(LegacyPool, WaitsForTheDeviceBeforeItGivesBlocksBackAndKeepsThemWhenThatFails) {
  Bench bench(100_MiB);
  void* block = bench.take(60_MiB);
  bench.give(block, 60_MiB);
  bench.device.synchronize_answer = Status::launch_failure;
  EXPECT_THROW(bench.take(70_MiB), DeviceError);
  EXPECT_EQ(bench.pool.idle_blocks(), 1u);
  EXPECT_EQ(bench.device.frees(), 0u);
}

TEST(LegacyPool, TriesOnceMoreThenReportsWhatWasWantedAndKeepsWhatIsLent) {
  Bench bench(100_MiB);
  void* lent = bench.take(40_MiB);
  bench.give(bench.take(50_MiB), 50_MiB);
  EXPECT_THROW(bench.take(80_MiB), OutOfMemory);
  EXPECT_EQ(bench.pool.flushes(), 1u);
  EXPECT_EQ(bench.device.mallocs(), 4u) << "two blocks, the refusal, one retry";
  EXPECT_EQ(bench.pool.reserved_bytes(), 42_MiB);
  bench.give(lent, 40_MiB);
  EXPECT_EQ(bench.pool.trim(), 42_MiB);
  EXPECT_EQ(bench.device.used_bytes(), 0u);
}

TEST(LegacyPool, PassesOnAnErrorOfTheDeviceWithoutAFlush) {
  Bench bench;
  bench.device.malloc_answer = Status::launch_failure;
  EXPECT_THROW(bench.take(1_MiB), DeviceError);
  EXPECT_EQ(bench.pool.flushes(), 0u);
}

TEST(LegacyPool, LeavesALeakedBlockBorrowedAndAForeignOneAlone) {
  ScriptedDevice device;
  Direct direct(device, {});
  {
    LegacyPool pool(direct, device, {});
    (void)pool.allocate({.bytes = 1_MiB});
    void* returned = pool.allocate({.bytes = 2_MiB});
    pool.deallocate(returned, {.bytes = 2_MiB});
    pool.deallocate(returned, {.bytes = 2_MiB});
    EXPECT_EQ(pool.refused_frees(), 1u);
    EXPECT_EQ(pool.idle_blocks(), 1u);
  }
  EXPECT_EQ(device.used_bytes(), round_up(1_MiB * 105 / 100, 256));
}

TEST(LegacyPool, RefusesAnUnknownBugAndNamesTheKnownOnes) {
  try {
    Bench bench(1_GiB, {.bug = "flush"});
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(
        error.what(),
        "legacy_pool: unknown bug 'flush'; known: none, no_flush, drop_live, second_retry, double_free");
  }
}

TEST(LegacyPool, DoesWithEachBugWhatItsNameSays) {
  const auto press = [](Bench& bench) {
    void* lent = bench.take(40_MiB);
    bench.give(bench.take(50_MiB), 50_MiB);
    try {
      bench.take(80_MiB);
    } catch (const OutOfMemory&) {
    }
    return lent;
  };
  Bench no_flush(100_MiB, {.bug = "no_flush"});
  press(no_flush);
  EXPECT_EQ(no_flush.device.mallocs(), 3u);
  EXPECT_EQ(no_flush.device.frees(), 0u);

  Bench second_retry(100_MiB, {.bug = "second_retry"});
  press(second_retry);
  EXPECT_EQ(second_retry.device.mallocs(), 5u);
  EXPECT_EQ(second_retry.pool.flushes(), 2u);

  Bench double_free(100_MiB, {.bug = "double_free"});
  void* const twice = double_free.take(1_MiB);
  double_free.give(twice, 1_MiB);
  double_free.give(twice, 1_MiB);
  EXPECT_EQ(double_free.take(1_MiB), twice);
  EXPECT_EQ(double_free.take(1_MiB), twice) << "one address, two owners";

  Bench drop_live(100_MiB, {.bug = "drop_live"});
  void* lent = press(drop_live);
  EXPECT_EQ(drop_live.device.frees(), 2u) << "the idle block, and one that is in use";
  EXPECT_EQ(drop_live.device.free(lent), Status::invalid_value) << "it is gone";
}

}  // namespace
}  // namespace drought
