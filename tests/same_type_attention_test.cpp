// Attention is held to what its own type can give: its largest error, by float64, may be no more than twice
// that of plain attention in the same type, which rounds scores, weights and output one after the other as a
// framework without a fused kernel does. Source: FlashAttention's tests, test_flash_attn.py; there as here
// one rounding of the output comes on top.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <ostream>

#include "kernels/catalogue.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/kv_rows.hpp"
#include "kernels/oracle.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/device_memory.hpp"
#include "tests/outliers.hpp"

namespace drought {
namespace {

using Row = std::span<const double>;

/// One query of one head, what it sees, and what the kernel made of it.
struct Query {
  Row query, got;
  std::vector<Row> keys, values;
  double scale;
  bool is_plain = true;  ///< Keys and values are of the type already.
};

double rounded(double x, const std::string& type) {
  const auto narrow = static_cast<float>(x);
  return type == "bf16" ? to_float(from_float<bf16>(narrow)) : to_float(from_float<fp16>(narrow));
}

/// In float64, or rounded to `type` after each step.
std::vector<double> attention(const Query& of, const std::string& type = "") {
  const auto round = [&](double x) { return type.empty() ? x : rounded(x, type); };
  const auto stored = [&](double x) { return of.is_plain ? x : round(x); };
  std::vector<double> weights;
  for (const Row key : of.keys) {
    double score = 0;
    for (std::size_t d = 0; d < key.size(); ++d) score += of.query[d] * stored(key[d]);
    weights.push_back(round(score * of.scale));
  }
  const double largest = weights.empty() ? 0 : *std::ranges::max_element(weights);
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  std::vector<double> out(of.got.size());
  for (std::size_t j = 0; j < weights.size(); ++j) {
    const double weight = round(weights[j] / sum);
    for (std::size_t d = 0; d < out.size(); ++d) out[d] += weight * stored(of.values[j][d]);
  }
  for (double& element : out) element = round(element);
  return out;
}

/// The largest of each over all queries.
struct Errors {
  double kernel = 0, plain = 0, size = 0;
  bool has_nan = false;

  void take(const Query& of, const std::string& type) {
    const auto right = attention(of), plainly = attention(of, type);
    for (std::size_t d = 0; d < right.size(); ++d) {
      kernel = std::max(kernel, std::abs(of.got[d] - right[d]));
      plain = std::max(plain, std::abs(plainly[d] - right[d]));
      size = std::max(size, std::abs(right[d]));
      has_nan = has_nan || std::isnan(of.got[d]);
    }
  }
};

using Parts = std::vector<std::vector<std::byte>>;
using TakeQuery = std::function<void(const Query&)>;

/// Sequences packed by where they begin; a query sees no key behind its own when `causal`.
struct PackedRows {
  HostTensor q, k, v, out;
  std::vector<std::size_t> queries, keys;
  std::size_t heads, kv_heads;
  bool causal;
  double scale;

  void each(const TakeQuery& take) const {
    for (std::size_t b = 0; b + 1 < queries.size(); ++b)
      for (std::size_t i = queries[b]; i < queries[b + 1]; ++i)
        for (std::size_t h = 0; h < heads; ++h) {
          Query of{q.row({i, h}), out.row({i, h}), {}, {}, scale};
          const std::size_t end = causal ? keys[b + 1] - (queries[b + 1] - 1 - i) : keys[b + 1];
          for (std::size_t j = keys[b]; j < end; ++j) {
            of.keys.push_back(k.row({j, h / (heads / kv_heads)}));
            of.values.push_back(v.row({j, h / (heads / kv_heads)}));
          }
          take(of);
        }
  }
};

std::vector<std::size_t> multiples(std::size_t count, std::size_t of) {
  std::vector<std::size_t> made;
  for (std::size_t i = 0; i <= count; ++i) made.push_back(i * of);
  return made;
}

void each_query(const PrefillAttention& kernel, const Parts& parts, const TakeQuery& take) {
  using P = PrefillAttention;
  const P::Shape& s = kernel.shape();
  const auto queries = multiples(s.batch, s.queries), keys = multiples(s.batch, s.prefix + s.queries);
  PackedRows{{parts[P::q], s.type, {queries.back(), s.heads, s.head_dim}},
             {parts[P::k], s.type, {keys.back(), s.kv_heads, s.head_dim}},
             {parts[P::v], s.type, {keys.back(), s.kv_heads, kernel.value_dim()}},
             {parts[P::out], s.type, {queries.back(), s.heads, kernel.value_dim()}},
             queries,
             keys,
             s.heads,
             s.kv_heads,
             s.causal,
             1 / std::sqrt(static_cast<double>(s.head_dim))}
      .each(take);
}

void each_query(const VisionAttention& kernel, const Parts& parts, const TakeQuery& take) {
  using V = VisionAttention;
  const V::Shape& s = kernel.shape();
  const std::vector<std::size_t> extents{s.cu_seqlens.back(), s.heads, s.head_dim};
  PackedRows{{parts[V::q], s.type, extents},
             {parts[V::k], s.type, extents},
             {parts[V::v], s.type, extents},
             {parts[V::out], s.type, extents},
             s.cu_seqlens,
             s.cu_seqlens,
             s.heads,
             s.heads,
             false,
             1 / std::sqrt(static_cast<double>(s.head_dim))}
      .each(take);
}

void each_query(const DecodeAttention& kernel, const Parts& parts, const TakeQuery& take) {
  using D = DecodeAttention;
  const D::Shape& s = kernel.shape();
  const std::size_t batch = s.seqlens.size();
  const KvType& type = kv_type_named(s.cache);
  const KvRows keys(type, parts[D::k_pages], s.head_dim, {s.k_scale, parts[D::k_scales]});
  const KvRows values(type, parts[D::v_pages], s.value_dim, {s.v_scale, parts[D::v_scales]});
  const auto table = integers(parts[D::page_table]);
  const HostTensor q(parts[D::q], s.type, {batch, s.heads, s.head_dim});
  const HostTensor out(parts[D::out], s.type, {batch, s.heads, s.value_dim});
  const double scale = s.scale == 0 ? 1 / std::sqrt(static_cast<double>(s.head_dim)) : s.scale;
  for (std::size_t b = 0; b < batch; ++b)
    for (std::size_t h = 0; h < s.heads; ++h) {
      Query of{q.row({b, h}), out.row({b, h}), {}, {}, scale, type.is_plain};
      const std::size_t length = s.seqlens[b];
      for (std::size_t j = s.window == 0 || s.window > length ? 0 : length - s.window; j < length; ++j) {
        const auto page = static_cast<std::size_t>(table[b * table.size() / batch + j / s.page_size]);
        const std::size_t row =
            (page * s.page_size + j % s.page_size) * s.kv_heads + h / (s.heads / s.kv_heads);
        of.keys.push_back(keys.row(row));
        of.values.push_back(s.latent ? keys.row(row).first(s.value_dim) : values.row(row));
      }
      take(of);
    }
}

/// Whether the rule says something of the shape: of 16-bit types, with scores as they are.
bool is_judged(const PrefillAttention::Shape& s) {
  return s.type != "fp32" && s.cu_seqlens_q.empty() && s.softcap == 0 && !s.sinks;
}
bool is_judged(const VisionAttention::Shape& s) { return s.type != "fp32"; }
bool is_judged(const DecodeAttention::Shape& s) { return s.type != "fp32" && s.softcap == 0 && !s.sinks; }

/// Over many tiles, where errors that are made in each add up and those of plain attention do not.
PrefillAttention::Shape long_shape(const PrefillAttention::Shape&) {
  return {.queries = 9, .prefix = 2039, .heads = 2};
}
VisionAttention::Shape long_shape(const VisionAttention::Shape&) {
  return {.cu_seqlens = {0, 300}, .heads = 1};
}
DecodeAttention::Shape long_shape(const DecodeAttention::Shape&) { return {.seqlens = {2048}}; }

template <typename Listed>
std::vector<typename Listed::Shape> judged_shapes() {
  auto shapes = Listed::cases();
  std::erase_if(shapes, [](const auto& shape) { return !is_judged(shape); });
  for (const char* const type : {"bf16", "fp16"}) {
    shapes.push_back(long_shape(shapes.front()));
    shapes.back().type = type;
  }
  return shapes;
}

template <typename Listed>
void expect_twice_plain(Device& device) {
  for (const auto& shape : judged_shapes<Listed>()) {
    for (const bool outliers : {false, true}) {
      const Listed kernel(shape);
      DeviceMemory memory(device, kernel);
      if (outliers) add_outliers(shape.type, memory.host()[Listed::q], 5);
      memory.run();
      Errors errors;
      each_query(kernel, memory.host(), [&](const Query& of) { errors.take(of, shape.type); });
      EXPECT_FALSE(errors.has_nan);
      EXPECT_LE(errors.kernel, 2 * errors.plain + unit_roundoff(shape.type) * errors.size)
          << shape.type << " of " << shape.head_dim << (outliers ? ", outliers" : "");
    }
  }
}

class AttentionInItsType : public testing::TestWithParam<Lane> {
 protected:
  void SetUp() override {
    std::string why_not;
    device_ = device_of(GetParam(), why_not);
    if (!device_) GTEST_SKIP() << why_not;
  }
  std::unique_ptr<Device> device_;
};

TEST_P(AttentionInItsType, ErrsNoMoreThanTwicePlainAttentionInPrefill) {
  expect_twice_plain<PrefillAttention>(*device_);
}
TEST_P(AttentionInItsType, ErrsNoMoreThanTwicePlainAttentionInVision) {
  expect_twice_plain<VisionAttention>(*device_);
}
TEST_P(AttentionInItsType, ErrsNoMoreThanTwicePlainAttentionInDecode) {
  expect_twice_plain<DecodeAttention>(*device_);
}

INSTANTIATE_TEST_SUITE_P(Lanes, AttentionInItsType, testing::Values(Lane::host, Lane::cuda),
                         [](const auto& info) { return info.param == Lane::host ? "host" : "cuda"; });

}  // namespace
}  // namespace drought
