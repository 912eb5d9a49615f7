// Draws the next token of each row of logits: softmax at a temperature, the top_k largest of it, and of
// those one, by a number in [0, 1) that the caller drew. Everything is decided in a fixed order, so that a
// seed gives the same tokens on every run. A block of four warps takes a row.
//
// The k-th largest probability is found by bisection over the bits of the floats, which are in the order of
// the numbers as these are not negative; equal ones are taken by rising index. Probabilities of the whole
// vocabulary are kept in memory, as engines do, and are an output: 256 rows of 152,064 take 148.5 MiB.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/sched/random.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/rows.hpp"
#include "kernels/shape.hpp"

namespace drought {

struct SamplingArguments {
  const float *logits, *uniforms;  // [rows][vocab], [rows]
  std::int32_t* tokens;            // [rows]
  float* probabilities;            // [rows][vocab]
  int vocab, top_k;
  float scale_log2;  // log2(e) / temperature.
};

struct SamplingBlock {
  static constexpr unsigned threads_max = row_threads;
  /// Of a row whose logits have NaN or infinity as their largest, or whose draw is not in [0, 1).
  static constexpr std::int32_t no_token = -1;
  using Arguments = SamplingArguments;
  static constexpr std::size_t meeting_offset = 16;
  static constexpr std::size_t shared_bytes = meeting_offset + 2 * threads_max * sizeof(float);
  static_assert(row_shared_bytes <= meeting_offset);

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto row = context.block().x;
    const std::size_t start = std::size_t{row} * static_cast<std::size_t>(given.vocab);
    weigh(context, given, start);
    context.sync();  // The probabilities are there.
    const auto probabilities = context.global(given.probabilities);
    const float least = kth_largest(context, given, start);
    const float above = count(context, given, start, std::bit_cast<std::uint32_t>(least) + 1);
    // What is left of top_k for those that equal the least. A count below 2^24 is exact in a float.
    const int equals_taken = given.top_k - static_cast<int>(above);

    const int thread = context.thread();
    const int share = (given.vocab + static_cast<int>(threads_max) - 1) / static_cast<int>(threads_max);
    const int first = thread * share;
    const int end = first + share < given.vocab ? first + share : given.vocab;
    int equals = 0;
    for (int i = first; i < end; ++i) equals += probabilities[start + static_cast<std::size_t>(i)] == least;
    float* const meeting = context.template shared<float>(meeting_offset, 2 * threads_max);
    float* const masses = meeting + threads_max;
    meeting[thread] = static_cast<float>(equals);
    context.sync();
    float equals_before = 0.0f;
    for (int other = 0; other < thread; ++other) equals_before += meeting[other];
    const int allowed = equals_taken - static_cast<int>(equals_before);
    // Visits the thread's share of the chosen, in order, until `visit` answers true.
    const auto visit_chosen = [&](auto visit) {
      int taken = 0;
      for (int i = first; i < end; ++i) {
        const float weight = probabilities[start + static_cast<std::size_t>(i)];
        const bool chosen = weight > least || (weight == least && taken++ < allowed);
        if (chosen && visit(i, weight)) return;
      }
    };
    float mass = 0.0f;
    int last = -1;
    visit_chosen([&](int i, float weight) {
      mass += weight;
      last = i;
      return false;
    });
    masses[thread] = last < 0 ? -1.0f : mass;  // -1: nothing chosen here.
    context.sync();
    float before = 0.0f, total = 0.0f;
    int owner = -1;
    for (int other = 0; other < static_cast<int>(threads_max); ++other)
      if (masses[other] >= 0.0f) total += masses[other];
    const float drawn = context.global(given.uniforms)[row], target = drawn * total;
    for (int other = 0; other < static_cast<int>(threads_max); ++other) {
      if (masses[other] < 0.0f) continue;
      if (owner >= 0 && target < before) break;
      owner = other;
      if (other == thread) mass = before;
      before += masses[other];
    }
    if (!(drawn >= 0.0f && drawn < 1.0f) || owner < 0) {
      if (thread == 0) context.global(given.tokens)[row] = no_token;
      return;
    }
    if (owner != thread) return;
    int token = last;  // Rounding may leave the target just above the sum of what is here.
    visit_chosen([&](int i, float weight) {
      mass += weight;
      if (!(mass > target)) return false;
      token = i;
      return true;
    });
    context.global(given.tokens)[row] = token;
  }

 private:
  template <typename Context>
  DROUGHT_DEVICE static void weigh(Context& context, const Arguments& given, std::size_t start) {
    const auto logits = context.global(given.logits);
    const auto probabilities = context.global(given.probabilities);
    const auto vocab = static_cast<std::size_t>(given.vocab);
    const auto first = static_cast<std::size_t>(context.thread());
    float largest = negative_infinity();
    for (std::size_t i = first; i < vocab; i += threads_max) {
      const float logit = logits[start + i];
      largest = largest < logit ? logit : largest;
    }
    largest = largest_of_row(context, largest);
    float sum = 0.0f;
    for (std::size_t i = first; i < vocab; i += threads_max)
      sum += exp2_of((logits[start + i] - largest) * given.scale_log2);
    const float inverse = 1.0f / sum_of_row(context, sum);
    for (std::size_t i = first; i < vocab; i += threads_max)
      probabilities[start + i] = exp2_of((logits[start + i] - largest) * given.scale_log2) * inverse;
  }

  /// Probabilities whose bits are at least `bits`.
  template <typename Context>
  DROUGHT_DEVICE static float count(Context& context, const Arguments& given, std::size_t start,
                                    std::uint32_t bits) {
    const auto probabilities = context.global(given.probabilities);
    int found = 0;
    for (auto i = static_cast<std::size_t>(context.thread()); i < static_cast<std::size_t>(given.vocab);
         i += threads_max)
      found += std::bit_cast<std::uint32_t>(static_cast<float>(probabilities[start + i])) >= bits;
    return sum_of_row(context, static_cast<float>(found));
  }

  /// The largest float that at least top_k probabilities reach.
  template <typename Context>
  DROUGHT_DEVICE static float kth_largest(Context& context, const Arguments& given, std::size_t start) {
    std::uint32_t reached = 0;
    for (std::uint32_t bit = 1u << 29; bit != 0; bit >>= 1)
      if (count(context, given, start, reached | bit) >= static_cast<float>(given.top_k)) reached |= bit;
    return std::bit_cast<float>(reached);
  }
};

using SamplingVariants = Variants<SamplingBlock>;

class Sampling final : public Kernel {
 public:
  struct Shape {
    std::size_t rows = 2, vocab = 300;
    std::size_t top_k = 20;  ///< 0: the whole vocabulary.
    double temperature = 0.8;
    static constexpr auto keys() {
      return std::tuple{key("rows", &Shape::rows), key("vocab", &Shape::vocab), key("top_k", &Shape::top_k),
                        key("temperature", &Shape::temperature)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "sampling";
  static constexpr std::string_view summary = "softmax at a temperature, and a draw among the top k";
  enum PartIndex : std::size_t { logits, uniforms, out, probabilities };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Sampling(const Shape& shape) : shape_(shape) {
    require_rows(shape.rows, shape.vocab);
    require(shape.vocab < std::size_t{1} << 24, "vocab must be below 2^24: counts are kept in floats");
    require(shape.top_k <= shape.vocab, "top_k is more than vocab");
    require(shape.temperature >= 0.01 && shape.temperature <= 100,
            "temperature must be between 0.01 and 100");
    if (shape_.top_k == 0) shape_.top_k = shape_.vocab;
    logits_bytes_ = checked_product("logits", {shape.rows, shape.vocab, sizeof(float)});
  }

  static std::vector<Shape> cases() {
    return {{1, 1, 1, 1.0},     {3, 127, 1, 0.5}, {2, 129, 129, 1.0},
            {2, 1000, 40, 0.7}, {1, 517, 0, 1.3}, {2, 256, 255, 2.0}};
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "logits", .bytes = logits_bytes_},
            {.name = "uniforms", .bytes = shape_.rows * sizeof(float)},
            {.name = "out",
             .bytes = shape_.rows * sizeof(std::int32_t),
             .role = Part::Role::output,
             .payload = false},
            {.name = "probabilities", .bytes = logits_bytes_, .role = Part::Role::output}};
  }

  /// Every fourth logit repeats its neighbour's, so that there are equal ones to choose among.
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    if (index == logits) {
      fill_normal("fp32", seed, index, to);
      for (std::size_t i = 4; i < to.size() / 4; i += 4)
        std::copy_n(to.begin() + static_cast<std::ptrdiff_t>((i - 1) * 4), 4,
                    to.begin() + static_cast<std::ptrdiff_t>(i * 4));
      return;
    }
    Random random = Random(seed).split(index);
    for (std::size_t at = 0; at < to.size(); at += sizeof(float)) {
      const float drawn = static_cast<float>(random() >> 40) * 0x1p-24f;
      std::memcpy(&to[at], &drawn, sizeof drawn);
    }
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    const SamplingArguments arguments{
        .logits = static_cast<const float*>(parts[logits]),
        .uniforms = static_cast<const float*>(parts[uniforms]),
        .tokens = static_cast<std::int32_t*>(parts[out]),
        .probabilities = static_cast<float*>(parts[probabilities]),
        .vocab = static_cast<int>(shape_.vocab),
        .top_k = static_cast<int>(shape_.top_k),
        .scale_log2 = static_cast<float>(std::numbers::log2e / shape_.temperature)};
    return launch_parts<SamplingVariants, SamplingBlock>(device, plan(), parts, arguments,
                                                         {.kernel = kernel_name,
                                                          .grid = {static_cast<unsigned>(shape_.rows)},
                                                          .shared_bytes = SamplingBlock::shared_bytes,
                                                          .stream = stream});
  }

  Comparison compare(std::span<const std::span<const std::byte>> parts) const override;

  double flops() const override { return 40 * static_cast<double>(shape_.rows * shape_.vocab); }

 private:
  void judge_softmax(std::span<const double> given, std::span<const double> got, std::size_t r,
                     Judge& judge) const;
  /// Empty when the token is one of the top_k of these very probabilities and its span of their sum holds
  /// `drawn` of it.
  std::string wrong_draw(std::span<const double> got, double drawn, double token) const;

  Shape shape_;
  std::size_t logits_bytes_ = 0;
};

}  // namespace drought
