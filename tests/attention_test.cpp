// What prefill and vision attention promise beyond their oracle: outliers, and that a sequence's bits depend
// on nothing but the sequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/prefill_attention.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/kernel_memory.hpp"
#include "tests/outliers.hpp"

namespace drought {
namespace {

class EveryPrefillShape : public testing::TestWithParam<PrefillAttention::Shape> {};

TEST_P(EveryPrefillShape, AgreesWithItsOracleAmongOutliers) {
  const PrefillAttention kernel(GetParam());
  KernelMemory memory(kernel, 15);
  for (const char* const part : {"q", "k", "v"})
    if (!memory.bytes(part).empty()) add_outliers(GetParam().type, memory.bytes(part), memory.index(part));
  ASSERT_EQ(memory.launch(2), Status::success) << host_launch_report();
  const Comparison comparison = memory.compare();
  EXPECT_TRUE(comparison.within) << comparison.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, EveryPrefillShape, testing::ValuesIn(PrefillAttention::cases()));

/// Sequences [from, from + rows) of a part of `all` rows.
std::span<std::byte> rows_of(std::span<std::byte> part, std::size_t all, std::size_t from, std::size_t rows) {
  const std::size_t row = part.size() / all;
  return part.subspan(from * row, rows * row);
}

class EveryHeadSize : public testing::TestWithParam<std::size_t> {
 protected:
  PrefillAttention::Shape shape() const {
    return {.cu_seqlens_q = {0, 40, 40, 57, 90},
            .cu_seqlens_k = {0, 77, 77, 94, 100},
            .head_dim = GetParam(),
            .value_dim = GetParam() == 192 ? 128u : 0u,
            .window_left = 50,
            .softcap = 3,
            .sinks = true};
  }
};

TEST_P(EveryHeadSize, GivesAPackedSequenceTheBitsThatItHasAlone) {
  PrefillAttention::Shape packed = shape();
  const PrefillAttention kernel(packed);
  KernelMemory memory(kernel, 16);
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  for (const std::size_t at : {0, 2, 3}) {
    const std::size_t first_q = packed.cu_seqlens_q[at], queries = packed.cu_seqlens_q[at + 1] - first_q;
    const std::size_t first_k = packed.cu_seqlens_k[at], keys = packed.cu_seqlens_k[at + 1] - first_k;
    PrefillAttention::Shape one = shape();
    one.cu_seqlens_q = {0, queries};
    one.cu_seqlens_k = {0, keys};
    const PrefillAttention single(one);
    KernelMemory alone(single, 16);
    std::ranges::copy(rows_of(memory.bytes("q"), 90, first_q, queries), alone.bytes("q").begin());
    for (const char* const part : {"k", "v"})
      std::ranges::copy(rows_of(memory.bytes(part), 100, first_k, keys), alone.bytes(part).begin());
    ASSERT_EQ(alone.launch(0), Status::success) << host_launch_report();
    EXPECT_TRUE(std::ranges::equal(alone.bytes("out"), rows_of(memory.bytes("out"), 90, first_q, queries)))
        << "sequence " << at;
  }
}

TEST_P(EveryHeadSize, KeepsNaNToTheSequenceThatHasIt) {
  const PrefillAttention kernel(shape());
  KernelMemory memory(kernel, 17);
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  const auto expected = memory.outputs();
  std::ranges::fill(rows_of(memory.bytes("q"), 90, 40, 17), std::byte{0xff});
  for (const char* const part : {"k", "v"})
    std::ranges::fill(rows_of(memory.bytes(part), 100, 77, 17), std::byte{0xff});
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  const auto got = memory.outputs();
  const std::size_t row = got.size() / 90;
  EXPECT_EQ(std::memcmp(got.data(), expected.data(), 40 * row), 0) << "of the sequences before";
  EXPECT_EQ(std::memcmp(&got[57 * row], &expected[57 * row], 33 * row), 0) << "of the sequence behind";
  const HostTensor lost(got, "bf16", {90, row / 2});
  for (std::size_t i = 40; i < 57; ++i)
    for (const double value : lost.row({i})) ASSERT_TRUE(std::isnan(value)) << "query " << i;
}

INSTANTIATE_TEST_SUITE_P(HeadSizes, EveryHeadSize, testing::Values(64, 72, 80, 96, 128, 192, 256));

TEST(PrefillAttention, GivesARowThatSeesNoKeyZerosAndASinkNothing) {
  for (const bool sinks : {false, true}) {
    // Three queries behind two keys: the first stands before them all.
    const PrefillAttention kernel({.cu_seqlens_q = {0, 3}, .cu_seqlens_k = {0, 2}, .sinks = sinks});
    KernelMemory memory(kernel, 18);
    ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
    const HostTensor out(memory.bytes("out"), "bf16", {3, 4 * 64});
    for (const double value : out.row({0})) ASSERT_EQ(value, 0);
    EXPECT_NE(out.at({1, 0}), 0);
  }
}

TEST(PrefillAttention, CountsWhatIsSeenAndNoMore) {
  const auto flops = [](const PrefillAttention::Shape& shape) {
    return PrefillAttention(shape).flops() / (4 * 64);  // Pairs of one head.
  };
  EXPECT_EQ(flops({.queries = 5, .heads = 1, .causal = false}), 25);
  EXPECT_EQ(flops({.queries = 5, .prefix = 3, .heads = 1}), 15 + 15);
  EXPECT_EQ(flops({.queries = 5, .heads = 1, .window_left = 1}), 1 + 4 * 2);
  EXPECT_EQ(flops({.queries = 5, .heads = 1, .causal = false, .window_left = 1, .window_right = 2}),
            3 + 4 + 4 + 3 + 2);
  EXPECT_EQ(flops({.cu_seqlens_q = {0, 3, 5}, .cu_seqlens_k = {0, 2, 7}, .heads = 1}), 0 + 1 + 2 + 4 + 5);
}

TEST(PrefillAttention, RefusesStartsThatAreNotItsShapes) {
  const PrefillAttention kernel({.cu_seqlens_q = {0, 3}, .cu_seqlens_k = {0, 9}});
  KernelMemory memory(kernel, 1);
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "");
  fill_integers(std::vector<std::int32_t>{0, 10}, memory.bytes("cu_seqlens_k"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "cu_seqlens_k[1] is 10, the shape says 9");
  fill_integers(std::vector<std::int32_t>{0, -1}, memory.bytes("cu_seqlens_q"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "cu_seqlens_q[1] is -1, the shape says 3");
}

}  // namespace
}  // namespace drought
