// ggml's graph allocator: the cases of llama.cpp's own tests (tests/test-alloc.cpp), each named at its test,
// with the same checks.
#include "allocators/graph_allocator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/graph_bench.hpp"

namespace drought {
namespace {

using testing::ElementsAre;

/// Allocates, and checks what llama.cpp's tests check.
void expect_sound(GraphBench& bench, const TensorGraph& graph, std::size_t bytes_max) {
  ASSERT_TRUE(bench.allocator->allocate(graph));
  EXPECT_EQ(mistake(graph, bench.allocator->current()), "");
  for (std::size_t i = 0; i < graph.size(); ++i) {
    EXPECT_TRUE(graph[i].bytes == 0 || bench.buffers[0].lends(bench.allocator->data(i), graph[i].bytes)) << i;
  }
  EXPECT_LE(bench.buffers[0].live_bytes, bytes_max);
  EXPECT_EQ(bench.buffers[0].live_bytes, bench.allocator->reserved_bytes());
}

TEST(GraphAllocator, SpreadsMoreTensorsThanAChunkHoldsOverChunks) {  // max_size_too_many_tensors
  TensorGraph graph{input(8)};
  for (std::size_t i = 0; i < 7; ++i) graph.push_back(made(8, {i}));
  for (std::size_t i = 1; i < 8; ++i) graph[7].sources.push_back(i - 1);
  GraphBench bench({.alignment = 8, .chunk_bytes_max = 16});
  expect_sound(bench, graph, 64);
  EXPECT_EQ(bench.buffers[0].blocks(), 4u);
}

TEST(GraphAllocator, GivesATensorThatFitsNoStartedChunkANewOne) {  // max_size_tensor_too_large
  GraphBench bench;
  expect_sound(bench, {input(16), input(8), made(24, {0, 1}), output(24, {0, 1, 2})}, 24 + 24 + 24);
}

TEST(GraphAllocator, LetsATensorLargerThanAnyChunkHaveOneOfItsSize) {  // tensor_larger_than_max_size
  GraphBench bench({.alignment = 8, .chunk_bytes_max = 16});
  expect_sound(bench, {input(16), made(24, {0}), output(16, {1})}, 56);
  EXPECT_EQ(bench.allocator->current().chunk_bytes[0][1], 24u);
}

TEST(GraphAllocator, LetsTheLastOfSixteenChunksGrowWithoutEnd) {  // not_enough_chunks
  TensorGraph graph;
  for (int i = 0; i < 20; ++i) graph.push_back(input(16));
  graph.push_back(made(16, {}));
  for (std::size_t i = 0; i < 20; ++i) graph.back().sources.push_back(i);
  GraphBench bench({.alignment = 8, .chunk_bytes_max = 16});
  expect_sound(bench, graph, 21 * 16);
  EXPECT_EQ(bench.buffers[0].blocks(), 16u);
  EXPECT_EQ(bench.allocator->current().chunk_bytes[0].back(), 6 * 16u);
}

TEST(GraphAllocator, FillsWhatIsLeftOfAStartedChunkBeforeItOpensAnother) {  // fill_leftover_space
  GraphBench bench({.alignment = 8, .chunk_bytes_max = 24});
  expect_sound(bench, {input(16), input(16), input(8), output(8, {0, 1, 2})}, 16 + 24 + 16);
}

TEST(GraphAllocator, ComputesOverAViewsSourceOnceNobodyElseReadsIt) {  // view_inplace
  const TensorGraph graph{input(32), made(32, {0}), view(32, 1), made(32, {2}, true), output(32, {3})};
  GraphBench bench({.alignment = 8});
  expect_sound(bench, graph, 96);
  const GraphPlan& plan = bench.allocator->current();
  EXPECT_EQ(plan.tensors[3].place, plan.tensors[1].place);
  EXPECT_EQ(plan.tensors[2].place, plan.tensors[1].place) << "a view has no memory of its own";
  TensorGraph read_later = graph;
  read_later[4].sources.push_back(1);
  expect_sound(bench, read_later, 128);
  EXPECT_NE(bench.allocator->current().tensors[3].place, bench.allocator->current().tensors[1].place);
}

TEST(GraphAllocator, ReusesWhatIsReadNoMoreAndNeverAnOutput) {  // reuse_and_free
  TensorGraph chain{input(16)};
  for (std::size_t i = 0; i < 8; ++i) chain.push_back(made(16, {i}));
  GraphBench bench({.alignment = 8});
  expect_sound(bench, chain, 32);
  for (GraphTensor& tensor : chain) tensor.is_output = true;
  expect_sound(bench, chain, 9 * 16);
}

TEST(GraphAllocator, MergesFreedNeighboursIntoRoomForALargerTensor) {  // merge_free_block
  for (const std::size_t most : {std::size_t{32}, DynTallocr::kUnbounded}) {
    GraphBench bench({.alignment = 8, .chunk_bytes_max = most});
    expect_sound(bench, {input(16), made(16, {0}), made(16, {0, 1}), output(32, {2})}, most == 32 ? 64 : 80);
  }
}

TEST(GraphAllocator, PrefersWhatAnotherChunkHasGrownToOverGrowing) {  // prefer_already_allocated_memory
  // The input leaves 8 of the first chunk, the freed 24 fit the output.
  GraphBench bench;
  expect_sound(bench, {input(24), made(24, {0}), made(4, {1}), output(24, {2})}, 24 + 24 + 8);
}

TEST(GraphAllocator, KeepsKindsOfBuffersApartAndLeavesTheReservingToTheCaller) {  // multiple_buffer_types
  GraphBench bench({.alignment = 8}, 2);
  TensorGraph graph{input(16), made(16, {0}), output(64, {1})};
  graph[1].buffer = 1;
  EXPECT_FALSE(bench.allocator->allocate(graph));
  bench.allocator->reserve(graph);
  EXPECT_TRUE(bench.allocator->allocate(graph));
  EXPECT_EQ(bench.buffers[0].live_bytes, 64u) << "the input is read no more when the output is made";
  EXPECT_EQ(bench.buffers[1].live_bytes, 16u);
}

TEST(GraphAllocator, BorrowsNothingForTensorsWithoutBytes) {  // buffer_size_zero
  GraphBench bench;
  EXPECT_TRUE(bench.allocator->allocate({input(0), output(0, {0})}));
  EXPECT_EQ(bench.buffers[0].asked, 0u);
  EXPECT_EQ(bench.allocator->data(1), nullptr);
}

TEST(GraphAllocator, ReservesAgainOnlyForAGraphThatItsPlanDoesNotServe) {  // reallocation
  const auto chain = [](std::size_t bytes) {
    return TensorGraph{input(bytes), made(bytes, {0}), output(bytes, {1})};
  };
  GraphBench bench({.alignment = 8});
  expect_sound(bench, chain(64), 192);
  const std::size_t asked = bench.buffers[0].asked;
  EXPECT_FALSE(bench.allocator->needs_reserve(chain(32)));
  expect_sound(bench, chain(32), 192);
  EXPECT_EQ(bench.buffers[0].asked, asked);
  EXPECT_TRUE(bench.allocator->needs_reserve(chain(72)));
  TensorGraph longer = chain(32);
  longer.push_back(output(8, {2}));
  EXPECT_TRUE(bench.allocator->needs_reserve(longer));
  expect_sound(bench, chain(72), 216);
}

TEST(GraphAllocator, SaysWhatAGraphWouldReserveAndBorrowsNothingForIt) {
  GraphBench bench;
  const TensorGraph graph{input(24), made(24, {0}), output(24, {1})};
  EXPECT_THAT(bench.allocator->reserve_bytes(graph), ElementsAre(48));
  EXPECT_EQ(bench.buffers[0].asked, 0u);
  bench.allocator->reserve(graph);
  EXPECT_EQ(bench.allocator->reserved_bytes(), 48u);
}

TEST(GraphAllocator, RefusesAGraphThatIsNone) {
  GraphBench bench;
  EXPECT_THROW((void)bench.allocator->plan({made(8, {0})}), std::invalid_argument);
  EXPECT_THROW((void)bench.allocator->plan({input(8), view(16, 0)}), std::invalid_argument);
  EXPECT_THROW((void)bench.allocator->plan({{.bytes = 8, .buffer = 1}}), std::invalid_argument);
}

}  // namespace
}  // namespace drought
