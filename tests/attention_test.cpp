// What attention promises beyond its oracle at plain inputs: outliers, averages of ones, and, where sequences
// are packed, that a sequence's bits depend on nothing but the sequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "harness/simt/number.hpp"
#include "kernels/catalogue.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/shape.hpp"
#include "tests/kernel_memory.hpp"
#include "tests/outliers.hpp"
#include "tests/tested_shape.hpp"

namespace drought {
namespace {

std::string type_of(const TestedShape& shape) { return shape.text.substr(shape.text.find("type = ") + 7, 4); }

bool is_quantised(const TestedShape& shape) {
  const std::size_t cache = shape.text.find("cache = ");
  return cache != std::string::npos && shape.text.find("cache = " + type_of(shape)) != cache;
}

template <typename T>
void fill_with(std::span<std::byte> part, float value) {
  const T element = from_float<T>(value);
  for (std::size_t i = 0; i < part.size(); i += sizeof(T)) std::memcpy(&part[i], &element, sizeof(T));
}

class EveryAttentionShape : public testing::TestWithParam<TestedShape> {};

TEST_P(EveryAttentionShape, AveragesValuesOfOneToExactlyOne) {
  KernelMemory memory(*GetParam().kernel, 14);
  std::string_view values = memory.has("v") ? "v" : "v_pages";
  const std::string type = type_of(GetParam());
  if (memory.bytes(values).empty()) values = "k_pages";  // A latent cache, whose keys are values too.
  if (type == "fp32") fill_with<float>(memory.bytes(values), 1);
  if (type == "bf16") fill_with<bf16>(memory.bytes(values), 1);
  if (type == "fp16") fill_with<fp16>(memory.bytes(values), 1);
  ASSERT_EQ(memory.launch(3), Status::success) << host_launch_report();
  const auto out = memory.bytes("out");
  const std::size_t count = out.size() / element_bytes(type);
  const HostTensor got(out, type, {count});
  for (std::size_t i = 0; i < count; ++i)
    ASSERT_TRUE(got.at({i}) == 1 || got.at({i}) == 0) << "element " << i << " is " << got.at({i});
  const Comparison comparison = memory.compare();  // Zeros only where there is no key.
  EXPECT_TRUE(comparison.within) << comparison.text;
}

class EveryOutlierShape : public testing::TestWithParam<TestedShape> {};

/// In queries, and in a cache unless it is quantised: of that, in the scales that lie beside it.
TEST_P(EveryOutlierShape, AgreesWithItsOracleAmongOutliers) {
  KernelMemory memory(*GetParam().kernel, 15);
  std::vector<const char*> parts{"q", "k", "v"};
  if (is_quantised(GetParam())) {
    for (const char* const scales : {"k_scales", "v_scales"})
      add_outliers("fp32", memory.bytes(scales), memory.index(scales));
  } else {
    parts.insert(parts.end(), {"k_pages", "v_pages"});
  }
  for (const char* const part : parts)
    if (memory.has(part)) add_outliers(type_of(GetParam()), memory.bytes(part), memory.index(part));
  ASSERT_EQ(memory.launch(2), Status::success) << host_launch_report();
  const Comparison comparison = memory.compare();
  EXPECT_TRUE(comparison.within) << comparison.text;
}

template <typename Keep>
std::vector<TestedShape> shapes_where(Keep keep) {
  std::vector<TestedShape> shapes = tested_shapes();
  std::erase_if(shapes, [&](const TestedShape& shape) {
    const std::vector<Part> plan = shape.kernel->plan();
    return !keep(shape, [&](std::string_view name) {
      return std::any_of(plan.begin(), plan.end(),
                         [&](const Part& part) { return part.name == name && part.bytes != 0; });
    });
  });
  return shapes;
}

/// Kernels that attend are those that are given queries; a reference answers in another type.
std::vector<TestedShape> outlier_shapes() {
  return shapes_where([](const TestedShape&, auto has) { return has("q") && !has("tolerance"); });
}

/// A sink's share of the weight is lost, and what one is in a quantised cache, the cache's own tests know.
std::vector<TestedShape> attention_shapes() {
  return shapes_where([](const TestedShape& shape, auto has) {
    return has("q") && !has("tolerance") && !has("sinks") && !is_quantised(shape);
  });
}

INSTANTIATE_TEST_SUITE_P(Catalogue, EveryOutlierShape, testing::ValuesIn(outlier_shapes()), shape_name);
INSTANTIATE_TEST_SUITE_P(Catalogue, EveryAttentionShape, testing::ValuesIn(attention_shapes()), shape_name);

/// Sequences [from, from + rows) of a part of `all` rows.
std::span<std::byte> rows_of(std::span<std::byte> part, std::size_t all, std::size_t from, std::size_t rows) {
  const std::size_t row = part.size() / all;
  return part.subspan(from * row, rows * row);
}

class EveryHeadSize : public testing::TestWithParam<std::tuple<const char*, std::size_t>> {
 protected:
  PrefillAttention::Shape shape() const {
    const auto [type, head_dim] = GetParam();
    return {.type = type,
            .cu_seqlens_q = {0, 40, 40, 57, 90},
            .cu_seqlens_k = {0, 77, 77, 94, 100},
            .head_dim = head_dim,
            .value_dim = head_dim == 192 ? 128u : 0u,
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
  const std::string type = shape().type;
  const HostTensor lost(got, type, {90, row / element_bytes(type)});
  for (std::size_t i = 40; i < 57; ++i)
    for (const double value : lost.row({i})) ASSERT_TRUE(std::isnan(value)) << "query " << i;
}

INSTANTIATE_TEST_SUITE_P(HeadSizes, EveryHeadSize,
                         testing::Combine(testing::Values("fp32", "bf16", "fp16"),
                                          testing::Values(64, 72, 80, 96, 128, 192, 256)));

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
