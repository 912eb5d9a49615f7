// Sequences on vLLM's blocks: prefixes, forks, copies, all or nothing, and drawn calls beside a model of
// what every block holds.
#include "allocators/kv_sequences.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>

#include "allocators/direct.hpp"
#include "tests/scripted_device.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using BlockId = PagedKv::BlockId;
using Tokens = std::vector<KvSequences::Token>;

struct Bench {
  explicit Bench(std::size_t blocks)
      : direct(device, {}), pool(direct, {.blocks = blocks, .block_bytes = 1024}) {}
  ScriptedDevice device;
  Direct direct;
  PagedKv pool;
};

Tokens text(std::size_t count, KvSequences::Token first = 0) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(KvSequences, FindsTheFullBlocksOfAPromptThatAnotherBeganWithUpToItsLastTokenButOne) {
  Bench bench(9);
  KvSequences kv(bench.pool, 4);
  const auto first = kv.start(text(8));
  EXPECT_EQ(first.cached_tokens, 0u);
  const auto same = kv.start(text(8));
  EXPECT_EQ(same.cached_tokens, 4u) << "the last token must be computed, so its block is not taken";
  EXPECT_THAT(kv.table(same.id), ElementsAre(1, 3));
  const auto longer = kv.start(text(9));
  EXPECT_EQ(longer.cached_tokens, 8u);
  EXPECT_THAT(kv.table(longer.id), ElementsAre(1, 2, 4));
  EXPECT_EQ(kv.start(text(9, 1)).cached_tokens, 0u) << "the same tokens at other places are others";
  EXPECT_EQ(kv.broken_invariant(), "");
}

TEST(KvSequences, EvictsTheTailOfWhatFinishedFirstBeforeItsBeginning) {
  Bench bench(6);
  KvSequences kv(bench.pool, 4);
  kv.finish(kv.start(text(10)).id);
  EXPECT_THAT(bench.pool.free_queue(), ElementsAre(3, 4, 5, 2, 1));
  const auto other = kv.start(text(16, 100));
  EXPECT_THAT(kv.table(other.id), ElementsAre(3, 4, 5, 2));
  kv.finish(other.id);
  EXPECT_EQ(kv.start(text(10)).cached_tokens, 4u);
}

TEST(KvSequences, CountsAHitThatNobodyUsesAmongTheBlocksItNeeds) {
  Bench bench(4);
  KvSequences kv(bench.pool, 4);
  kv.finish(kv.start(text(12)).id);
  const auto before = bench.pool.free_queue();
  EXPECT_THROW((void)kv.start(text(13)), OutOfMemory) << "three hits and a block, of three that are free";
  EXPECT_EQ(bench.pool.free_queue(), before);
  EXPECT_EQ(kv.start(text(12)).cached_tokens, 8u);
}

TEST(KvSequences, CopiesASharedBlockBeforeItIsAppendedToAndOnlyThen) {
  Bench bench(6);
  KvSequences kv(bench.pool, 4);
  const auto parent = kv.start(text(6)).id;
  const auto child = kv.fork(parent);
  EXPECT_EQ(bench.pool.free_count(), 3u) << "a fork takes no block";
  const auto copies = kv.append(child, text(1));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, 2u);
  EXPECT_EQ(copies[0].to, 3u);
  EXPECT_THAT(kv.table(child), ElementsAre(1, 3));
  EXPECT_THAT(kv.append(parent, text(1)), IsEmpty()) << "its block is its own again";
  EXPECT_THAT(kv.append(parent, text(1)), IsEmpty());
  EXPECT_THAT(kv.append(kv.fork(parent), text(1)), IsEmpty()) << "a full block is not written to";
  EXPECT_EQ(kv.broken_invariant(), "");
}

TEST(KvSequences, GrowsByAllTheBlocksItNeedsOrByNone) {
  Bench bench(4);
  KvSequences kv(bench.pool, 4);
  const auto parent = kv.start(text(6)).id;
  const auto child = kv.fork(parent);
  EXPECT_THROW((void)kv.append(child, text(3)), OutOfMemory) << "a copy and a block, of one that is free";
  EXPECT_EQ(kv.tokens(child).size(), 6u);
  EXPECT_EQ(kv.broken_invariant(), "");
  EXPECT_EQ(kv.append(child, text(2)).size(), 1u);
  EXPECT_THROW((void)kv.start({}), std::invalid_argument);
}

using Drawn = std::tuple<std::uint8_t, std::uint8_t, std::uint8_t>;

/// What a block holds, told by whoever wrote it: all tokens up to each of its slots.
TEST(KvSequences, KeepsEverySequencesTokensOverAnyOrderOfCalls) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls) {
    constexpr std::size_t kBlocks = 13, kTokens = 3;
    Bench bench(kBlocks);
    KvSequences kv(bench.pool, kTokens);
    std::vector<std::vector<Tokens>> written(kBlocks, std::vector<Tokens>(kTokens));
    std::map<KvSequences::Id, Tokens> model;
    const auto write = [&](KvSequences::Id id, std::size_t from) {
      const Tokens& all = model.at(id);
      for (std::size_t i = from; i < all.size(); ++i)
        written[kv.table(id)[i / kTokens]][i % kTokens] =
            Tokens(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    };
    const auto used = [&] {
      std::vector<bool> blocks(kBlocks);
      for (const auto& [id, tokens] : model)
        for (const BlockId block : kv.table(id)) blocks[block] = true;
      return static_cast<std::size_t>(std::count(blocks.begin(), blocks.end(), true));
    };
    for (const auto& [what, which, size] : calls) {
      const auto chosen =
          model.empty() ? model.end() : std::next(model.begin(), which % static_cast<long>(model.size()));
      const std::size_t free_before = bench.pool.free_count();
      try {
        if (what % 4 == 0 || model.empty()) {
          const Tokens prompt = text(1 + size % 14, which % 2 * 100);
          const auto started = kv.start(prompt);
          RC_ASSERT(started.cached_tokens < prompt.size());
          model[started.id] = prompt;
          write(started.id, started.cached_tokens);
        } else if (what % 4 == 1) {
          const Tokens more =
              text(1 + size % 4, which % 3 == 0 ? 7 : static_cast<std::uint32_t>(model.size()));
          const std::size_t length = chosen->second.size();
          for (const auto& [from, to] : kv.append(chosen->first, more)) written[to] = written[from];
          chosen->second.insert(chosen->second.end(), more.begin(), more.end());
          write(chosen->first, length);
        } else if (what % 4 == 2) {
          const auto child = kv.fork(chosen->first);
          model[child] = chosen->second;
        } else {
          kv.finish(chosen->first);
          model.erase(chosen);
        }
      } catch (const OutOfMemory&) {
        RC_ASSERT(bench.pool.free_count() == free_before);
      }
      RC_ASSERT(kv.broken_invariant() == "");
      RC_ASSERT(bench.pool.free_count() + used() == kBlocks - 1);
      for (const auto& [id, tokens] : model) {
        RC_ASSERT(kv.tokens(id) == tokens);
        for (std::size_t i = 0; i < tokens.size(); ++i)
          RC_ASSERT(written[kv.table(id)[i / kTokens]][i % kTokens] ==
                    Tokens(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1));
      }
    }
  }));
}

}  // namespace
}  // namespace drought
