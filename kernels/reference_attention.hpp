// Prefill attention in float64, a row a block, without tiles: the oracle where the host's would take hours.
// It answers what each element is and how far a kernel of the type may be from it, by the formula of
// oracle.hpp, against which it is checked at sizes that the host does.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/prefill_attention.hpp"

namespace drought {

template <typename T>
struct ReferenceArguments {
  PrefillArguments<T> of;   // Its out is null.
  double *out, *tolerance;  // [tokens][heads][value_dim]
  int head_dim, value_dim;
  double scale, softcap, roundoff, step;  // roundoff, step: of T, relative and near 0.
};

template <typename T>
struct ReferenceBlock {
  static constexpr int threads = 128;
  static constexpr unsigned threads_max = threads;
  static constexpr std::size_t shared_bytes = threads * sizeof(double);
  using Arguments = ReferenceArguments<T>;

  struct Score {
    double value, products;  // The score, and its products' absolute values added up; both scaled.
  };

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto& of = given.of;
    PrefillSequence sequence{static_cast<int>(context.block().z) * of.queries, of.queries,
                             static_cast<int>(context.block().z) * of.keys, of.keys};
    if (of.cu_seqlens_q) {
      const auto q = context.global(of.cu_seqlens_q), k = context.global(of.cu_seqlens_k);
      const std::size_t at = context.block().z;
      sequence = {q[at], q[at + 1] - q[at], k[at], k[at + 1] - k[at]};
    }
    const int query = static_cast<int>(context.block().x), own = query + sequence.keys - sequence.queries;
    if (query >= sequence.queries) return;
    const int head = static_cast<int>(context.block().y), kv_head = head / (of.heads / of.kv_heads);
    const int begin = own - of.left > 0 ? own - of.left : 0;
    const int end = own + 1 + static_cast<long long>(of.right) < sequence.keys
                        ? (own + 1 + of.right > 0 ? own + 1 + of.right : 0)
                        : sequence.keys;
    const auto row =
        static_cast<std::size_t>(sequence.first_query + query) * static_cast<std::size_t>(of.heads) +
        static_cast<std::size_t>(head);
    const auto key_row = [&](int j) {
      return static_cast<std::size_t>(sequence.first_key + j) * static_cast<std::size_t>(of.kv_heads) +
             static_cast<std::size_t>(kv_head);
    };
    const auto score_of = [&](int j) { return score(context, given, row, key_row(j)); };
    const int thread = context.thread();

    double largest = -INFINITY, products = 0;
    for (int j = begin + thread; j < end; j += threads) {
      const Score found = score_of(j);
      largest = largest < found.value ? found.value : largest;
      products = products < found.products ? found.products : products;
    }
    largest = largest_of(context, largest);
    products = largest_of(context, products);
    const double sink = of.sinks ? context.global(of.sinks)[static_cast<std::size_t>(head)] : -INFINITY;
    largest = largest < sink ? sink : largest;
    const double base = largest == -INFINITY ? 0 : largest;

    double* const weights = context.template shared<double>(0, threads);
    double sum = begin < end ? std::exp(sink - base) : 0;
    double out[2] = {}, weighed[2] = {}, absolute[2] = {};  // Of this thread's columns.
    for (int first = begin; first < end; first += threads) {
      const int here = end - first < threads ? end - first : threads;
      context.sync();
      weights[thread] = thread < here ? std::exp(score_of(first + thread).value - base) : 0;
      context.sync();
      for (int i = 0; i < here; ++i) {
        sum += weights[i];
        const std::size_t value_row = key_row(first + i) * static_cast<std::size_t>(given.value_dim);
        for (int c = 0; c < 2; ++c) {
          if (thread + c * threads >= given.value_dim) continue;
          const double value =
              to_float(context.global(of.v)[value_row + static_cast<std::size_t>(thread + c * threads)]);
          out[c] += weights[i] * value;
          weighed[c] += weights[i] * std::abs(value);
          absolute[c] += std::abs(value);
        }
      }
    }
    for (int c = 0; c < 2; ++c) {
      if (thread + c * threads >= given.value_dim) continue;
      const double mean = sum != 0 ? out[c] / sum : 0;
      const std::size_t at =
          row * static_cast<std::size_t>(given.value_dim) + static_cast<std::size_t>(thread + c * threads);
      context.global(given.out)[at] = mean;
      context.global(given.tolerance)[at] =
          sum != 0 ? bound(given, end - begin, largest, products, weighed[c] / sum, absolute[c] / sum, mean)
                   : 0;
    }
  }

 private:
  template <typename Context>
  DROUGHT_DEVICE static Score score(Context& context, const Arguments& given, std::size_t row,
                                    std::size_t key_row) {
    const auto q = context.global(given.of.q), k = context.global(given.of.k);
    const auto dim = static_cast<std::size_t>(given.head_dim);
    double value = 0, products = 0;
    for (std::size_t d = 0; d < dim; ++d) {
      const double product = static_cast<double>(to_float(q[row * dim + d])) *
                             static_cast<double>(to_float(k[key_row * dim + d]));
      value += product;
      products += std::abs(product);
    }
    value *= given.scale;
    if (given.softcap != 0) value = given.softcap * std::tanh(value / given.softcap);
    return {value, products * given.scale};
  }

  template <typename Context>
  DROUGHT_DEVICE static double largest_of(Context& context, double mine) {
    double* const all = context.template shared<double>(0, threads);
    context.sync();
    all[context.thread()] = mine;
    context.sync();
    double largest = all[0];
    for (int i = 1; i < threads; ++i) largest = largest < all[i] ? all[i] : largest;
    return largest;
  }

  /// The tolerance of oracle.hpp.
  DROUGHT_DEVICE static double bound(const Arguments& given, int keys, double largest, double products,
                                     double weighed, double absolute, double out) {
    constexpr double accumulator = 1.0 / (1 << 24);
    const double exponent = std::abs(largest) * 1.4426950408889634 + std::log2(double(keys)) + 1;
    const double weight = given.roundoff + 4 * (1.0 / (1 << 22)) +
                          (given.head_dim + 8) * accumulator * products + exponent * (1.0 / (1 << 22)) +
                          given.softcap * (1.0 / (1 << 20));
    return (2 * weight + 2 * (keys + 8.0) * accumulator) * weighed + given.roundoff * std::abs(out) +
           given.step * (absolute + 1);
  }
};

using ReferenceVariants = Variants<ReferenceBlock<float>, ReferenceBlock<bf16>, ReferenceBlock<fp16>>;

class ReferenceAttention final : public Kernel {
 public:
  using Shape = PrefillAttention::Shape;
  using Options = Shape;

  static constexpr std::string_view kernel_name = "reference_attention";
  static constexpr std::string_view summary =
      "prefill attention in float64 with its tolerance, the oracle of large shapes";
  /// Inputs as in PrefillAttention, at the same places and of the same bits for a seed.
  static constexpr std::size_t out = PrefillAttention::out, tolerance = PrefillAttention::part_count;

  /// Throws std::invalid_argument, in one line, for a shape that cannot be. `body` is not looked at.
  explicit ReferenceAttention(Shape shape) : prefill_((shape.body = "portable", shape)) {}

  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const Shape& shape : PrefillAttention::cases())
      if (shape.type != "fp32" && !shape.cu_seqlens_q.empty()) made.push_back(shape);
    made.push_back({.type = "fp32", .queries = 17, .prefix = 5, .head_dim = 192, .value_dim = 128});
    made.push_back({.type = "bf16", .queries = 3, .prefix = 300, .head_dim = 256});
    return made;
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    std::vector<Part> parts = prefill_.plan();
    parts[out].bytes = bytes();
    parts.push_back({.name = "tolerance", .bytes = bytes(), .role = Part::Role::output});
    return parts;
  }
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    prefill_.fill(index, seed, to);
  }
  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
    return prefill_.wrong_inputs(parts);
  }
  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return FloatTypes::visit(prefill_.shape().type,
                             [&]<typename T>(T) { return launch_as<T>(device, stream, parts); });
  }

  /// Two float64 sums of n terms in different orders differ by n 2^-53 of the sum of absolute values, which
  /// for a weighted mean of values up to 350 is below n 2^-44; the exponents add |score| 2^-53 relative.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const std::size_t columns = prefill_.value_dim();
    const HostTensor got(parts[out], "fp64", {prefill_.rows(), columns});
    const HostTensor bounds(parts[tolerance], "fp64", {prefill_.rows(), columns});
    Judge judge(1e-9);
    prefill_.answers(parts, [&](std::size_t query, std::size_t head, const AttentionOracle::Answer& answer) {
      const std::size_t row = query * prefill_.shape().heads + head;
      for (std::size_t d = 0; d < columns; ++d) {
        const auto where = [&] { return "row " + std::to_string(row) + "[" + std::to_string(d) + "]"; };
        judge.take(got.at({row, d}), answer.out[d], 1e-10, where);
        judge.take(bounds.at({row, d}), answer.tolerance[d], 1e-9 * answer.tolerance[d], where);
      }
    });
    return judge.verdict();
  }
  double flops() const override { return prefill_.flops(); }

 private:
  std::size_t bytes() const {
    return checked_product("out of reference_attention",
                           {prefill_.rows(), prefill_.value_dim(), sizeof(double)});
  }

  template <typename T>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    const auto& shape = prefill_.shape();
    const ReferenceArguments<T> arguments{.of = prefill_.arguments_of<T>(parts),
                                          .out = static_cast<double*>(parts[out]),
                                          .tolerance = static_cast<double*>(parts[tolerance]),
                                          .head_dim = static_cast<int>(shape.head_dim),
                                          .value_dim = static_cast<int>(prefill_.value_dim()),
                                          .scale = 1 / std::sqrt(static_cast<double>(shape.head_dim)),
                                          .softcap = shape.softcap,
                                          .roundoff = NumberTraits<T>::unit_roundoff,
                                          .step = underflow_error(shape.type)};
    return launch_parts<ReferenceVariants, ReferenceBlock<T>>(
        device, plan(), parts, arguments,
        {.kernel = kernel_name,
         .grid = {static_cast<unsigned>(arguments.of.queries), static_cast<unsigned>(arguments.of.heads),
                  static_cast<unsigned>(arguments.of.sequences)},
         .shared_bytes = ReferenceBlock<T>::shared_bytes,
         .stream = stream});
  }

  PrefillAttention prefill_;
};

}  // namespace drought
