// vLLM's blocks: the order of the queue, what is evicted and what never is, references, and how each of the
// shipped defects shows in the books.
#include "allocators/paged_kv.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "allocators/direct.hpp"
#include "allocators/kv_sequences.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using BlockId = PagedKv::BlockId;
using Blocks = std::vector<BlockId>;
using Tokens = std::vector<KvSequences::Token>;

struct Bench {
  explicit Bench(PagedKv::Options options) : direct(device, {}), pool(direct, options) {}
  explicit Bench(std::size_t blocks) : Bench({.blocks = blocks, .block_bytes = 1024}) {}
  void give(Blocks blocks) { pool.free_blocks(blocks); }
  void touch(Blocks blocks) { pool.touch(blocks); }
  ScriptedDevice device;
  Direct direct;
  PagedKv pool;
};

Tokens text(std::size_t count, KvSequences::Token first = 0) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(PagedKv, LendsBlocksByRisingNumberAndNeverTheNullBlock) {
  Bench bench(5);
  EXPECT_EQ(bench.device.used_bytes(), 5 * 1024u);
  EXPECT_EQ(bench.pool.free_count(), 4u);
  EXPECT_THAT(bench.pool.get_new_blocks(4), ElementsAre(1, 2, 3, 4));
  EXPECT_THROW(bench.touch({PagedKv::kNullBlock}), std::invalid_argument);
  EXPECT_THROW(bench.give({PagedKv::kNullBlock}), std::invalid_argument);
}

TEST(PagedKv, TakesNothingWhenFewerBlocksAreFreeThanAreAskedFor) {
  Bench bench(4);
  try {
    (void)bench.pool.get_new_blocks(4);
    FAIL() << "four of three";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("4 blocks: 3 of 3 are free"));
  }
  EXPECT_EQ(bench.pool.free_count(), 3u);
}

TEST(PagedKv, QueuesFreedBlocksInFrontUnlessTheyAreCachedAndThenBehind) {
  Bench bench(7);
  (void)bench.pool.get_new_blocks(5);
  bench.pool.cache(2, 20);
  bench.pool.cache(4, 40);
  bench.give({5, 4, 3, 2, 1});
  EXPECT_THAT(bench.pool.free_queue(), ElementsAre(5, 3, 1, 6, 4, 2));
  (void)bench.pool.get_new_blocks(6);
  bench.give({3, 4});
  EXPECT_THAT(bench.pool.free_queue(), ElementsAre(3, 4)) << "nothing is cached any more";
  bench.pool.cache(1, 1);
  bench.touch({1});
  (void)bench.pool.get_new_blocks(2);
  bench.give({1, 2, 1});
  EXPECT_THAT(bench.pool.free_queue(), ElementsAre(2, 1)) << "also in an empty queue";
}

TEST(PagedKv, QueuesEveryFreedBlockBehindWhenCachingIsOff) {
  Bench bench({.blocks = 5, .block_bytes = 1024, .caching = false});
  (void)bench.pool.get_new_blocks(2);
  bench.pool.cache(1, 10);
  EXPECT_FALSE(bench.pool.is_cached(1));
  bench.give({2, 1});
  EXPECT_THAT(bench.pool.free_queue(), ElementsAre(3, 4, 2, 1));
}

TEST(PagedKv, FindsACachedBlockUntilItIsTakenAndEvictsNoneThatIsInUse) {
  Bench bench(4);
  (void)bench.pool.get_new_blocks(2);
  bench.pool.cache(1, 10);
  bench.pool.cache(2, 20);
  bench.give({1});
  EXPECT_EQ(bench.pool.cached(10), 1u);
  bench.touch({1});
  EXPECT_THAT(bench.pool.free_queue(), ElementsAre(3)) << "a hit leaves the queue";
  bench.give({1});
  EXPECT_THAT(bench.pool.get_new_blocks(2), ElementsAre(3, 1));
  EXPECT_EQ(bench.pool.cached(10), std::nullopt);
  EXPECT_EQ(bench.pool.cached(20), 2u);
  EXPECT_EQ(bench.pool.evictions(), 1u);
}

TEST(PagedKv, AnswersWithTheBlockThatWasCachedFirstOfTwoEqualOnes) {
  Bench bench(4);
  (void)bench.pool.get_new_blocks(2);
  bench.pool.cache(2, 10);
  bench.pool.cache(1, 10);
  bench.pool.cache(1, 11);
  EXPECT_EQ(bench.pool.cached(10), 2u);
  EXPECT_EQ(bench.pool.cached(11), std::nullopt) << "a block has one hash";
  bench.pool.evict(Blocks{2});
  EXPECT_EQ(bench.pool.cached(10), 1u);
  EXPECT_EQ(bench.pool.ref_count(2), 1u) << "evicted from the cache, not from its user";
}

TEST(PagedKv, ForgetsEveryHashOnlyWhenNoBlockIsInUse) {
  Bench bench(3);
  (void)bench.pool.get_new_blocks(1);
  bench.pool.cache(1, 10);
  EXPECT_FALSE(bench.pool.reset_prefix_cache());
  EXPECT_EQ(bench.pool.cached(10), 1u);
  bench.give({1});
  EXPECT_TRUE(bench.pool.reset_prefix_cache());
  EXPECT_EQ(bench.pool.cached(10), std::nullopt);
  EXPECT_EQ(bench.pool.broken_invariant(), "");
}

TEST(PagedKv, RefusesAWholeListForOneReferenceThatIsNotThere) {
  Bench bench(5);
  (void)bench.pool.get_new_blocks(2);
  bench.touch({1});
  for (const Blocks& wrong : {Blocks{1, 1, 1}, {2, 2}, {1, 3}, {2, 0}, {1, 9}}) {
    EXPECT_THROW(bench.give(wrong), std::invalid_argument);
    EXPECT_EQ(bench.pool.ref_count(1), 2u);
    EXPECT_EQ(bench.pool.ref_count(2), 1u);
    EXPECT_EQ(bench.pool.broken_invariant(), "");
  }
  EXPECT_THROW(bench.touch({1, 3}), std::invalid_argument) << "block 3 is free and not cached";
  EXPECT_EQ(bench.pool.ref_count(1), 2u);
  bench.give({1, 2, 1});
  EXPECT_EQ(bench.pool.free_count(), 4u);
}

TEST(PagedKv, LendsOneBlockARequestAndRefusesWhatItDoesNotKnow) {
  Bench bench(3);
  void* const block = bench.pool.allocate({.bytes = 1024});
  EXPECT_EQ(bench.device.offset_of(block), 1024u);
  EXPECT_THROW((void)bench.pool.allocate({.bytes = 1025}), OutOfMemory);
  EXPECT_THROW((void)bench.pool.allocate({.bytes = 1, .alignment = 512}), std::invalid_argument);
  (void)bench.pool.allocate({.bytes = 1});
  EXPECT_THROW((void)bench.pool.allocate({.bytes = 1}), OutOfMemory);
  bench.pool.deallocate(static_cast<std::byte*>(block) + 512, {.bytes = 1});
  bench.pool.deallocate(bench.pool.address_of(0), {.bytes = 1});
  bench.pool.deallocate(bench.pool.address_of(3), {.bytes = 1});
  bench.pool.deallocate(block, {.bytes = 1024});
  bench.pool.deallocate(block, {.bytes = 1024});
  EXPECT_EQ(bench.pool.refused_frees(), 4u);
  EXPECT_EQ(bench.pool.free_count(), 1u);
  for (const std::size_t blocks : {std::size_t{1}, std::size_t{1} << 31})
    EXPECT_THROW(Bench{blocks}, std::invalid_argument);
  EXPECT_THROW(Bench({.bug = "some"}), std::invalid_argument);
}

TEST(PagedKv, IsSeenToMiscountAndToKeepWhatItTouchedInItsQueue) {
  Bench uncounted({.blocks = 4, .block_bytes = 1024, .bug = "touch_uncounted"});
  KvSequences two(uncounted.pool, 4);
  (void)two.fork(two.start(text(3)).id);
  EXPECT_THAT(two.broken_invariant(), HasSubstr("is in 2 tables and counts 1"));
  Bench queued({.blocks = 4, .block_bytes = 1024, .bug = "touch_stays_queued"});
  queued.pool.cache(queued.pool.get_new_blocks(1).front(), 10);
  queued.give({1});
  queued.touch({1});
  EXPECT_THAT(queued.pool.broken_invariant(), HasSubstr("block 1 is free and in use"));
  Bench stale({.blocks = 2, .block_bytes = 1024, .bug = "stale_hash"});
  stale.pool.cache(stale.pool.get_new_blocks(1).front(), 10);
  stale.give({1});
  (void)stale.pool.get_new_blocks(1);
  EXPECT_THAT(stale.pool.broken_invariant(), HasSubstr("not its own"));
}

}  // namespace
}  // namespace drought
