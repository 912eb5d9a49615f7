// What llama.cpp's tests of its graph allocator leave out: graphs that are drawn, every borrowing refused in
// turn with the allocator used again after each, and every placement compared with a model of best fit.
#include <gtest/gtest.h>

#include "harness/sched/random.hpp"
#include "tests/graph_bench.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

/// A layered graph of drawn sizes, as wide and as deep as it is drawn.
TensorGraph drawn_graph(Random& random, std::size_t tensors, std::size_t bytes_max) {
  TensorGraph graph;
  for (std::size_t i = 0; i < tensors; ++i) {
    GraphTensor tensor{.bytes = 8 * (1 + random.below(bytes_max / 8))};
    for (std::size_t s = random.below(4); i > 0 && s > 0; --s) tensor.sources.push_back(random.below(i));
    std::sort(tensor.sources.begin(), tensor.sources.end());
    tensor.sources.erase(std::unique(tensor.sources.begin(), tensor.sources.end()), tensor.sources.end());
    const std::uint64_t kind = random.below(8);
    if (kind == 0 && !tensor.sources.empty()) {
      tensor.view_of = tensor.sources.front();
      tensor.sources.resize(1);
      tensor.bytes = graph[*tensor.view_of].bytes;
    } else if (kind < 3 && !tensor.sources.empty()) {
      tensor.in_place = true;
      tensor.bytes = graph[tensor.sources.front()].bytes;
    }
    tensor.is_output = random.below(12) == 0;
    graph.push_back(std::move(tensor));
  }
  return graph;
}

TEST(GraphAllocator, NeverPlacesTwoLivingTensorsInOnePlace) {
  Random random(test_seed());
  for (int round = 0; round < 500; ++round) {
    GraphBench bench({.alignment = 8, .chunk_bytes_max = 64u << random.below(6)});
    const TensorGraph graph = drawn_graph(random, 2 + random.below(60), 512);
    ASSERT_EQ(mistake(graph, bench.allocator->plan(graph)), "") << "round " << round;
  }
}

/// Fails the k-th borrowing of the larger of two graphs and looks at what is left.
struct Refused {
  bool failed = false, old_plan_serves = false, old_chunks_lent = false, serves_later = false;
};

Refused refuse(std::size_t k, GraphAllocator::Options options) {
  GraphBench bench(options);
  const TensorGraph small{input(24), made(24, {0}), output(24, {1})};
  const TensorGraph large{input(48), made(40, {0}), made(48, {0, 1}), output(56, {1, 2})};
  bench.allocator->reserve(small);
  bench.buffers[0].refuse_at = bench.buffers[0].asked + k;
  Refused seen;
  try {
    bench.allocator->reserve(large);
  } catch (const OutOfMemory&) {
    seen.failed = true;
  }
  seen.old_plan_serves = !bench.allocator->needs_reserve(small);
  seen.old_chunks_lent = true;
  for (std::size_t i = 0; i < small.size(); ++i)
    seen.old_chunks_lent = seen.old_chunks_lent && bench.buffers[0].lends(bench.allocator->data(i), 24);
  bench.buffers[0].refuse_at = 0;
  bench.allocator->reserve(large);
  seen.serves_later = mistake(large, bench.allocator->current()).empty();
  for (std::size_t i = 0; i < large.size(); ++i)
    seen.serves_later = seen.serves_later && bench.buffers[0].lends(bench.allocator->data(i), large[i].bytes);
  bench.allocator.reset();
  EXPECT_EQ(bench.buffers[0].live_bytes, 0u);
  return seen;
}

TEST(GraphAllocator, KeepsItsPlanAndItsChunksWhicheverBorrowingOfALargerOneIsRefused) {
  std::size_t refusals = 0;
  for (std::size_t k = 1;; ++k) {
    const Refused seen = refuse(k, kSmall);
    EXPECT_TRUE(seen.serves_later) << k;
    if (!seen.failed) break;
    ++refusals;
    EXPECT_TRUE(seen.old_plan_serves) << k;
    EXPECT_TRUE(seen.old_chunks_lent) << k;
  }
  EXPECT_GE(refusals, 3u) << "one for each chunk";
}

TEST(GraphAllocator, IsLeftWithNeitherPlanWhenItFreesBeforeItGrowsAsGgmlDoes) {
  GraphAllocator::Options ggml = kSmall;
  ggml.frees_before_growing = true;
  const Refused seen = refuse(1, ggml);
  EXPECT_TRUE(seen.failed);
  EXPECT_FALSE(seen.old_chunks_lent) << "what the next graph would read through";
}

TEST(DynTallocr, TakesTheTightestHoleOfAllChunksAndGgmlTheLastChunksThatFits) {
  for (const bool per_chunk : {false, true}) {
    DynTallocr places({.alignment = 8, .best_fit_per_chunk = per_chunk});
    places.open(4096);
    const auto tight = *places.take(64);
    (void)places.take(4096 - 64);
    places.open(4096);
    const auto wide = *places.take(2048);
    (void)places.take(64);
    (void)places.take(1024);
    // A hole is not a chunk's last free block.
    ASSERT_TRUE(places.free(tight, 64));
    ASSERT_TRUE(places.free({0, 4096 - 512}, 512));
    ASSERT_TRUE(places.free(wide, 2048));
    EXPECT_EQ(*places.take(64), per_chunk ? wide : tight);
    EXPECT_EQ(places.take(2048).has_value() && places.open_chunks() == 2, !per_chunk);
  }
}

/// The free blocks of every chunk, kept byte by byte: what best fit over all of them would take.
TEST(DynTallocr, AgreesWithAModelOfBestFitOverAllChunks) {
  Random random = Random(test_seed()).split(7);
  DynTallocr places({.alignment = 8});
  std::vector<std::pair<DynTallocr::Place, std::size_t>> lent;
  std::size_t compared = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (!lent.empty() && (lent.size() > 150 || random.below(2) == 0)) {
      const std::size_t victim = random.below(lent.size());
      ASSERT_TRUE(places.free(lent[victim].first, lent[victim].second));
      lent.erase(lent.begin() + static_cast<std::ptrdiff_t>(victim));
      continue;
    }
    const std::size_t bytes = 8 * (1 + random.below(64));
    std::size_t tightest = SIZE_MAX;
    for (std::size_t c = 0; c < DynTallocr::kChunks; ++c)
      for (std::size_t i = 0; i + 1 < places.free_blocks(c).size(); ++i)
        if (places.free_blocks(c)[i].bytes >= bytes)
          tightest = std::min(tightest, places.free_blocks(c)[i].bytes);
    std::map<std::pair<std::size_t, std::size_t>, std::size_t> before;
    for (std::size_t c = 0; c < DynTallocr::kChunks; ++c)
      for (const auto& block : places.free_blocks(c)) before[{c, block.offset}] = block.bytes;
    auto place = places.take(bytes);
    if (!place) {
      ASSERT_TRUE(places.open(4096));
      place = places.take(bytes);
    } else if (tightest != SIZE_MAX) {
      ++compared;
      ASSERT_EQ((before[{place->chunk, place->offset}]), tightest) << "step " << step;
    }
    lent.emplace_back(*place, bytes);
  }
  EXPECT_GT(compared, 1000u);
}

TEST(DynTallocr, RefusesTheFreeThatWouldLeaveOneFreeBlockTooMany) {
  DynTallocr places({.alignment = 8});
  places.open(DynTallocr::kUnbounded);
  std::vector<DynTallocr::Place> lent;
  for (std::size_t i = 0; i < 2 * DynTallocr::kFreeBlocks; ++i) lent.push_back(*places.take(8));
  for (std::size_t i = 0; i < 2 * (DynTallocr::kFreeBlocks - 1); i += 2)
    ASSERT_TRUE(places.free(lent[i], 8)) << i;
  EXPECT_FALSE(places.free(lent[2 * DynTallocr::kFreeBlocks - 2], 8));
  EXPECT_TRUE(places.free(lent[1], 8)) << "one that joins two neighbours leaves fewer";
}

}  // namespace
}  // namespace drought
