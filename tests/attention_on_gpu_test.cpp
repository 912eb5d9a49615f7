// Prefill and vision attention on a GPU at lengths that simulated threads would take hours for, Hopper's body
// and the portable one, against attention in float64 on the same GPU; and what must not depend on the rest of
// a batch: the bits of a sequence among others, in another order, or beside NaN.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/oracle.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/reference_attention.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/device_memory.hpp"
#include "tests/outliers.hpp"

namespace drought {
namespace {

using Shape = PrefillAttention::Shape;

std::string described(const Shape& s) {
  return s.body + " " + s.type + " D" + std::to_string(s.head_dim) + " " + std::to_string(s.batch) + " x " +
         std::to_string(s.queries) + " + " + std::to_string(s.prefix) + (s.causal ? " causal" : "") +
         " packed " + std::to_string(s.cu_seqlens_q.size()) + " window " + std::to_string(s.window_left) +
         ", " + std::to_string(s.window_right) + " softcap " + std::to_string(s.softcap) +
         (s.sinks ? " sinks" : "");
}

void expect_as_reference(Device& device, const Shape& shape, bool outliers = false) {
  SCOPED_TRACE(described(shape));
  const PrefillAttention kernel(shape);
  const ReferenceAttention reference(shape);
  DeviceMemory memory(device, kernel), expected(device, reference);
  for (const auto part : {PrefillAttention::q, PrefillAttention::k, PrefillAttention::v}) {
    if (!outliers) break;
    add_outliers(shape.type, memory.host()[part], part);
    expected.host()[part] = memory.host()[part];
  }
  memory.run();
  expected.run();
  const auto& out = memory.host()[PrefillAttention::out];
  const std::size_t count = out.size() / element_bytes(shape.type);
  const HostTensor got(out, shape.type, {count});
  const HostTensor right(expected.host()[ReferenceAttention::out], "fp64", {count});
  const HostTensor bound(expected.host()[ReferenceAttention::tolerance], "fp64", {count});
  Judge judge(norm_limit(shape.type));
  const auto gots = got.row({}), rights = right.row({}), bounds = bound.row({});
  for (std::size_t i = 0; i < count; ++i)
    judge.take(gots[i], rights[i], bounds[i], [&] { return "out[" + std::to_string(i) + "]"; });
  const Comparison comparison = judge.verdict();
  EXPECT_TRUE(comparison.within) << comparison.text;
  const std::vector<std::byte> first = out;
  memory.run();
  EXPECT_EQ(out, first) << "two runs differ";
}

class AttentionOnTheGpu : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    device_ = device_of(Lane::cuda, why_not);
    if (!device_) GTEST_SKIP() << why_not;
  }
  std::unique_ptr<Device> device_;
};

constexpr std::size_t kHeadDims[] = {64, 72, 80, 96, 128, 192, 256};

Shape shape_of(const char* type, std::size_t head_dim, std::size_t queries) {
  return {.type = type,
          .queries = queries,
          .heads = 2,
          .kv_heads = 1,
          .head_dim = head_dim,
          .value_dim = head_dim == 192 ? 128u : 0u};
}

TEST_F(AttentionOnTheGpu, AgreesWithTheReferenceAtEveryHeadSizeAndLength) {
  for (const std::size_t head_dim : kHeadDims) {
    for (const std::size_t queries : {1, 3, 113, 127, 193, 239, 1023, 1024, 4096}) {
      for (const bool causal : {true, false}) {
        Shape shape = shape_of("bf16", head_dim, queries);
        shape.batch = queries < 500 ? 3 : 1;
        shape.prefix = queries % 5 == 3 ? 577 : 0;
        shape.causal = causal;
        shape.body = "hopper";
        expect_as_reference(*device_, shape, queries == 239);
      }
    }
    for (const char* const type : {"fp32", "bf16", "fp16"}) {
      for (const std::size_t queries : {113, 1023}) {
        Shape shape = shape_of(type, head_dim, queries);
        shape.body = "portable";
        shape.prefix = queries - 113;
        expect_as_reference(*device_, shape, queries == 113);
      }
    }
  }
}

/// No query, no key, neither, fewer keys than queries, exact tiles, and as a last sequence what is given.
Shape packed_shape(std::size_t head_dim, std::size_t queries, std::size_t keys) {
  Shape shape = shape_of("bf16", head_dim, 0);
  shape.cu_seqlens_q = {0, 1, 1, 1, 301, 429, 429 + queries};
  shape.cu_seqlens_k = {0, 9, 137, 137, 337, 465, 465 + keys};
  return shape;
}

TEST_F(AttentionOnTheGpu, AgreesWithTheReferenceWithEveryOption) {
  for (const std::size_t head_dim : kHeadDims) {
    for (const char* const body : {"hopper", "portable"}) {
      for (const std::size_t window : {std::size_t{0}, std::size_t{100}, std::size_t{300}, tokens_max}) {
        for (const bool causal : {true, false}) {
          for (const bool is_long : {true, false}) {
            Shape shape = is_long ? packed_shape(head_dim, 700, 1100) : packed_shape(head_dim, 200, 310);
            shape.causal = causal;
            shape.window_left = window;
            shape.window_right = window / 2;
            shape.softcap = window == 100 ? 2 : 0;
            shape.sinks = window == 300 || window == tokens_max;
            shape.body = body;
            expect_as_reference(*device_, shape);
          }
        }
      }
    }
  }
}

TEST_F(AttentionOnTheGpu, AgreesWithTheReferenceOverWindowsOfAnImage) {
  std::vector<std::size_t> windows{0};
  for (const std::size_t tokens : {64, 64, 32, 0, 1, 63, 64, 17, 64, 64})
    windows.push_back(windows.back() + tokens);
  for (const std::size_t head_dim : {64, 72, 80, 128}) {
    for (const std::vector<std::size_t>& starts : {windows, {0, 900, 900, 964, 3500}, {0, 1}}) {
      Shape shape = shape_of("bf16", head_dim, 0);
      shape.cu_seqlens_q = shape.cu_seqlens_k = starts;
      shape.kv_heads = 2;
      shape.causal = false;
      shape.body = "hopper";
      expect_as_reference(*device_, shape, true);
    }
  }
}

/// Sequences of these lengths, packed in the order given.
struct Packed {
  std::vector<std::size_t> order;
  std::vector<std::size_t> starts{0};
};

constexpr std::size_t kLengths[] = {300, 64, 1, 129, 513};

Packed packed(std::vector<std::size_t> order) {
  Packed made{std::move(order)};
  for (const std::size_t i : made.order) made.starts.push_back(made.starts.back() + kLengths[i]);
  return made;
}

/// Moves each sequence of `from` to where `to` has it.
std::vector<std::byte> moved(const std::vector<std::byte>& part, const Packed& from, const Packed& to) {
  std::vector<std::byte> there(part.size());
  const std::size_t row = part.size() / from.starts.back();
  for (std::size_t i = 0; i < from.order.size(); ++i) {
    const auto at = static_cast<std::size_t>(std::ranges::find(to.order, from.order[i]) - to.order.begin());
    std::memcpy(&there[to.starts[at] * row], &part[from.starts[i] * row], kLengths[from.order[i]] * row);
  }
  return there;
}

TEST_F(AttentionOnTheGpu, GivesASequenceTheSameBitsWhereverItLiesAndWhateverLiesBesideIt) {
  const Packed first = packed({0, 1, 2, 3, 4}), other = packed({3, 0, 4, 2, 1});
  for (const std::size_t head_dim : kHeadDims) {
    for (const char* const body : {"hopper", "portable"}) {
      for (const bool causal : {true, false}) {
        Shape shape = shape_of("bf16", head_dim, 0);
        shape.causal = causal;
        shape.body = body;
        shape.cu_seqlens_q = shape.cu_seqlens_k = first.starts;
        SCOPED_TRACE(described(shape));
        const PrefillAttention kernel(shape);
        DeviceMemory memory(*device_, kernel);
        memory.run();
        const auto expected = moved(memory.host()[PrefillAttention::out], first, other);

        shape.cu_seqlens_q = shape.cu_seqlens_k = other.starts;
        const PrefillAttention again(shape);
        DeviceMemory elsewhere(*device_, again);
        for (const auto part : {PrefillAttention::q, PrefillAttention::k, PrefillAttention::v})
          elsewhere.host()[part] = moved(memory.host()[part], first, other);
        elsewhere.run();
        EXPECT_EQ(elsewhere.host()[PrefillAttention::out], expected);

        // NaN in all of the second sequence here, the longest but one: no other may have it.
        const std::size_t from = other.starts[1], to = other.starts[2];
        for (const auto part : {PrefillAttention::q, PrefillAttention::k, PrefillAttention::v}) {
          auto& bytes = elsewhere.host()[part];
          const std::size_t row = bytes.size() / other.starts.back();
          std::memset(&bytes[from * row], 0xff, (to - from) * row);
        }
        elsewhere.run();
        const auto& out = elsewhere.host()[PrefillAttention::out];
        const std::size_t row = out.size() / other.starts.back();
        const auto same = [&](std::size_t begin, std::size_t end) {
          return std::memcmp(&out[begin * row], &expected[begin * row], (end - begin) * row) == 0;
        };
        EXPECT_TRUE(same(0, from)) << "NaN came over from the sequence behind";
        EXPECT_TRUE(same(to, other.starts.back())) << "NaN came over from the sequence before";
        const HostTensor lost(out, "bf16", {other.starts.back(), row / 2});
        for (const double value : lost.row({from})) ASSERT_TRUE(std::isnan(value));
      }
    }
  }
}

}  // namespace
}  // namespace drought
