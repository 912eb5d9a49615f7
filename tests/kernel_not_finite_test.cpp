// What NaN and infinity are worth to kernels. Every kernel makes NaN of what uses a NaN, and of nothing else;
// attention's infinities are by its definition, element by element; and there are the numbers beside
// attention whose definition has a limit that arithmetic alone would miss.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <ostream>

#include "kernels/decode_attention.hpp"
#include "kernels/gated_activation.hpp"
#include "kernels/kv_append.hpp"
#include "kernels/kv_rows.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/reference_attention.hpp"
#include "kernels/sampling.hpp"
#include "kernels/shape.hpp"
#include "tests/kernel_memory.hpp"
#include "tests/named.hpp"
#include "tests/tried_kernels.hpp"

namespace drought {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

void put(std::span<std::byte> part, std::size_t at, float value) {
  std::memcpy(part.subspan(at * sizeof value).data(), &value, sizeof value);
}

class EveryKernelsNumbers : public TriedKernel {};

INSTANTIATE_TEST_SUITE_P(Catalogue, EveryKernelsNumbers,
                         testing::ValuesIn(kernel_catalogue().begin(), kernel_catalogue().end()), by_name);

/// Every element of every output; a token of -1, which is none, reads as NaN.
std::vector<double> elements(const Kernel& kernel, KernelMemory& memory) {
  const bool wide = kernel.name() == "reference_attention";
  const std::vector<std::byte> bytes = memory.outputs();
  const HostTensor read(bytes, wide ? "fp64" : "fp32", {bytes.size() / (wide ? 8 : 4)});
  const auto all = read.row({});
  return {all.begin(), all.end()};
}

/// An element of a part, replaced while this lives.
class Replaced {
 public:
  Replaced(std::span<std::byte> part, std::size_t at, float value) : place_(part.subspan(at * 4, 4)) {
    std::memcpy(&old_, place_.data(), 4);
    std::memcpy(place_.data(), &value, 4);
  }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;
  ~Replaced() { std::memcpy(place_.data(), &old_, 4); }
  float old() const { return old_; }

 private:
  std::span<std::byte> place_;
  float old_ = 0;
};

/// What a number is used for shows when it becomes another: there NaN must show too, and nowhere else.
TEST_P(EveryKernelsNumbers, MakesNaNOfAllThatUsesANaNAndOfNothingElse) {
  ask_all("not_finite", [](const Kernel& kernel, const Tried& tried) {
    if (tried.shape.find("type = 'fp32'") == std::string_view::npos && tried.shape != "")
      return std::size_t{0};
    KernelMemory memory(kernel, 19);
    const auto run = [&] {
      EXPECT_EQ(memory.launch(0), Status::success) << host_launch_report();
      return elements(kernel, memory);
    };
    const std::vector<double> before = run();
    const std::vector<Part> plan = kernel.plan();
    std::size_t asked = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      if (!plan[i].payload || plan[i].role != Part::Role::input || plan[i].bytes == 0) continue;
      const std::size_t count = plan[i].bytes / 4;
      for (std::size_t turn = 0; turn < count; ++turn) {
        const std::size_t at = (count / 2 + turn) % count;
        std::vector<bool> uses(before.size());
        for (const float other : {64.0f, -64.0f}) {
          const Replaced replaced(memory.bytes(i), at, other);
          if (!std::isfinite(replaced.old())) continue;
          const std::vector<double> after = run();
          for (std::size_t e = 0; e < after.size(); ++e)
            uses[e] = uses[e] || (after[e] != before[e] && !std::isnan(before[e]));
        }
        if (std::ranges::count(uses, true) == 0) continue;  // Memory of nobody.
        const Replaced replaced(memory.bytes(i), at, kNan);
        const std::vector<double> after = run();
        std::size_t wrong = 0;
        for (std::size_t e = 0; e < after.size(); ++e) {
          if (std::isnan(before[e])) continue;
          const bool right = uses[e] ? std::isnan(after[e]) : std::abs(after[e] - before[e]) <= 1e-5;
          wrong += right ? 0 : 1;
        }
        EXPECT_EQ(wrong, 0u) << "of " << after.size() << " elements, by " << plan[i].name << "[" << at << "]";
        ++asked;
        break;
      }
    }
    return asked;
  });
}

/// Prefill's shapes: a row that sees its own key alone, tiles that only some rows see, windows.
class EverySight : public testing::TestWithParam<PrefillAttention::Shape> {};

template <typename Attention>
void expect_definition(const PrefillAttention::Shape& shape, std::string_view type) {
  const PrefillAttention defined(shape);
  const Attention kernel(shape);
  for (const char* const part : {"q", "k", "v"})
    for (const float value : {kInfinity, -kInfinity, kNan})
      for (const double place : {0.0, 0.5, 1.0}) {
        KernelMemory memory(kernel, 23);
        const std::size_t count = memory.bytes(part).size() / sizeof value;
        put(memory.bytes(part), static_cast<std::size_t>(place * static_cast<double>(count - 1)), value);
        ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
        const HostTensor got(memory.bytes("out"), type, {defined.rows(), defined.value_dim()});
        std::size_t wrong = 0, not_finite = 0;
        const auto views = memory.views();
        defined.answers(std::span(views).first(PrefillAttention::part_count),
                        [&](std::size_t query, std::size_t head, const AttentionOracle::Answer& answer) {
                          for (std::size_t d = 0; d < defined.value_dim(); ++d) {
                            const double is = got.at({query * shape.heads + head, d}), must = answer.out[d];
                            const bool same = std::isfinite(must)
                                                  ? std::abs(is - must) <= 1e-4
                                                  : is == must || (std::isnan(is) && std::isnan(must));
                            wrong += same ? 0 : 1;
                            not_finite += std::isfinite(must) ? 0 : 1;
                          }
                        });
        EXPECT_EQ(wrong, 0u) << value << " in " << part << " at " << place << ", where " << not_finite
                             << " elements are not finite";
      }
}

TEST_P(EverySight, GivesInfinityAndNaNToWhomAttentionsDefinitionDoes) {
  expect_definition<PrefillAttention>(GetParam(), "fp32");
  expect_definition<ReferenceAttention>(GetParam(), "fp64");
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, EverySight,
    testing::Values(PrefillAttention::Shape{.type = "fp32", .queries = 70, .heads = 1},
                    PrefillAttention::Shape{.type = "fp32", .queries = 33, .prefix = 40, .heads = 2},
                    PrefillAttention::Shape{.type = "fp32", .queries = 90, .heads = 1, .window_left = 20},
                    PrefillAttention::Shape{.type = "fp32", .queries = 40, .heads = 1, .causal = false},
                    PrefillAttention::Shape{
                        .type = "fp32", .queries = 20, .heads = 1, .head_dim = 192, .value_dim = 128}));

TEST(KvAppend, LeavesNothingFiniteToReadWhereANaNOrAnInfinityShareAScale) {
  for (const char* const cache : {"bf16", "fp8_e4m3", "int8", "q8_0", "q4_0"})
    for (const float value : {kNan, kInfinity, -kInfinity}) {
      const KvAppend kernel(
          {.cache = cache, .tokens = 2, .page_size = 2, .pages = 1, .padded = 0, .kv_heads = 1});
      KernelMemory memory(kernel, 31);
      fill_integers(std::vector<std::int32_t>{0, 1}, memory.bytes("slots"));
      const bf16 element = from_float<bf16>(value);
      std::memcpy(memory.bytes("k").subspan(40 * sizeof element).data(), &element, sizeof element);
      ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
      EXPECT_TRUE(memory.compare().within) << cache << ": " << memory.compare().text;
      const KvRows rows(kv_type_named(cache), memory.bytes("k_pages"), 64,
                        {.rows = memory.bytes("k_scales")});
      const std::string_view type = cache;
      const bool shares_row = type == "int8", shares_block = type == "q8_0" || type == "q4_0";
      for (std::size_t i = 0; i < 64; ++i) {
        const bool lost = shares_row || i == 40 || (shares_block && i >= 32);
        EXPECT_EQ(!std::isfinite(rows.row(0)[i]), lost && !(type == "fp8_e4m3" && !std::isnan(value)))
            << cache << " of " << value << " at " << i << ": " << rows.row(0)[i];
        EXPECT_TRUE(std::isfinite(rows.row(1)[i]));
      }
    }
}

/// A key whose score is -infinity is not seen; with no other, there is none to see.
TEST(DecodeAttention, WeighsAKeyOfMinusInfinityAsNoneAndOneOfInfinityAsNaN) {
  for (const std::size_t length : {1, 20})
    for (const std::size_t splits : {1, 2}) {
      const DecodeAttention kernel({.type = "fp32", .seqlens = {length}, .splits = splits, .heads = 2});
      KernelMemory memory(kernel, 29);
      for (const std::size_t head : {0, 1}) put(memory.bytes("q"), head * 64, -1);
      const std::size_t page =
          length == 1 ? 0 : static_cast<std::size_t>(integers(memory.bytes("page_table"))[0]);
      put(memory.bytes("k_pages"), page * 16 * 64, kInfinity);
      ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
      const HostTensor finite(memory.bytes("out"), "fp32", {2 * 64});
      for (const double value : finite.row({})) EXPECT_TRUE(length == 1 ? value == 0 : std::isfinite(value));
      if (length != 1) {
        EXPECT_NE(finite.at({0}), 0);
      }
      for (const std::size_t head : {0, 1}) put(memory.bytes("q"), head * 64, 1);
      ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
      const HostTensor lost(memory.bytes("out"), "fp32", {2 * 64});
      for (const double value : lost.row({})) EXPECT_TRUE(std::isnan(value)) << value;
    }
}

TEST(GatedActivation, HasNoValueAtMinusInfinityAndNoneButZeroFarBelowZero) {
  for (const char* const function : {"silu", "gelu_tanh"}) {
    const GatedActivation kernel(
        {.type = "fp32", .function = function, .rows = 1, .width = 4, .gated = false});
    KernelMemory memory(kernel, 1);
    const float given[4] = {-kInfinity, -1e30f, 1e30f, kInfinity};
    for (std::size_t i = 0; i < 4; ++i) put(memory.bytes("gate"), i, given[i]);
    ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
    const HostTensor got(memory.bytes("out"), "fp32", {4});
    EXPECT_TRUE(std::isnan(got.at({0}))) << function << " " << got.at({0});  // -infinity times 0.
    EXPECT_EQ(got.at({1}), 0) << function;
    EXPECT_EQ(got.at({2}), given[2]) << function;
    EXPECT_EQ(got.at({3}), kInfinity) << function;
  }
}

TEST(Sampling, DrawsNoTokenWhereThereIsNoDistributionOrNoDraw) {
  struct Case {
    float logit, others, drawn;
    std::int32_t token;
  };
  for (const Case& given :
       {Case{kNan, 0, 0.5f, -1}, Case{kInfinity, 0, 0.5f, -1}, Case{-kInfinity, -kInfinity, 0.5f, -1},
        Case{9, 0, kNan, -1}, Case{9, 0, 1, -1}, Case{9, 0, -0.5f, -1}, Case{9, -kInfinity, 0.5f, 3}}) {
    const Sampling kernel({.rows = 2, .vocab = 5, .top_k = 2});
    KernelMemory memory(kernel, 1);
    for (std::size_t i = 0; i < 10; ++i)
      put(memory.bytes("logits"), i, i == 3 ? given.logit : i < 5 ? given.others : 0);
    put(memory.bytes("logits"), 9, 50);
    put(memory.bytes("uniforms"), 0, given.drawn);
    put(memory.bytes("uniforms"), 1, 0.5f);
    ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
    EXPECT_EQ(integers(memory.bytes("out")), (std::vector<std::int32_t>{given.token, 4}))
        << given.logit << " among " << given.others << " by " << given.drawn;
  }
}

}  // namespace
}  // namespace drought
