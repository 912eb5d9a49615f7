// Rotary position embedding (Su et al. 2021): pairs of elements of each head are turned by an angle that is
// the token's position times a frequency. One kernel for all its kinds, which differ in what a position is:
//   text    one position a token;
//   m-rope  three, time, height and width, the pairs dealt out to them in sections (Qwen2-VL: 16, 24, 24);
//   vision  two, height and width, each with half of the pairs and its own run of frequencies (Qwen2.5-VL's
//           encoder).
// A block turns one token, all heads of it by angles that are computed once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/sched/random.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct RopeArguments {
  const T* x;                     // [tokens][heads][head_dim]
  const std::int32_t* positions;  // [axes][tokens]
  const float* frequencies;       // [pairs]
  const std::int32_t* axes;       // [pairs], of each pair.
  T* out;                         // As x.
  int tokens, heads, head_dim, pairs;
  bool interleaved;
};

/// Four elements, which travel together.
template <typename T>
struct __attribute__((may_alias, aligned(4 * sizeof(T)))) RopeQuad {
  T value[4];
};

template <typename T>
struct RopeBlock {
  static constexpr int threads = 128;
  static constexpr unsigned threads_max = threads;
  using Arguments = RopeArguments<T>;
  using Quad = RopeQuad<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const int token = static_cast<int>(context.block().x), pairs = given.pairs;
    float* const cosines = context.template shared<float>(0, static_cast<std::size_t>(2 * pairs));
    float* const sines = cosines + pairs;
    const auto positions = context.global(given.positions), axes = context.global(given.axes);
    const auto frequencies = context.global(given.frequencies);
    for (int pair = context.thread(); pair < pairs; pair += threads) {
      const auto at = static_cast<std::size_t>(pair);
      const auto place = static_cast<std::size_t>(axes[at]) * static_cast<std::size_t>(given.tokens) +
                         static_cast<std::size_t>(token);
      const float angle = static_cast<float>(positions[place]) * frequencies[at];
      cosines[pair] = std::cos(angle);
      sines[pair] = std::sin(angle);
    }
    context.sync();
    given.interleaved ? turn_heads<true>(context, given, cosines, sines)
                      : turn_heads<false>(context, given, cosines, sines);
  }

 private:
  /// A thread keeps to its place in a head, and goes from head to head.
  template <bool interleaved, typename Context>
  DROUGHT_DEVICE static void turn_heads(Context& context, const Arguments& given, const float* cosines,
                                        const float* sines) {
    const auto x = context.global(reinterpret_cast<const Quad*>(given.x));
    const auto out = context.global(reinterpret_cast<Quad*>(given.out));
    const int quads = given.pairs / 4, still = (given.head_dim - 2 * given.pairs) / 4;  // Of a head.
    const int width = quads + still, heads_at_once = threads / width;
    const int quad = context.thread() % width, first_head = context.thread() / width;
    if (first_head >= heads_at_once) return;
    for (int head = first_head; head < given.heads; head += heads_at_once) {
      const std::size_t start =
          (static_cast<std::size_t>(context.block().x) * static_cast<std::size_t>(given.heads) +
           static_cast<std::size_t>(head)) *
          static_cast<std::size_t>(given.head_dim / 4);
      if (quad >= quads) {
        const std::size_t at = start + static_cast<std::size_t>(quads + quad);
        out[at] = x[at];
        continue;
      }
      const std::size_t first = start + static_cast<std::size_t>(interleaved ? 2 * quad : quad);
      const std::size_t second = first + static_cast<std::size_t>(interleaved ? 1 : quads);
      Quad a = x[first], b = x[second];
      DROUGHT_UNROLL
      for (int i = 0; i < 4; ++i) {
        T& left = !interleaved ? a.value[i] : i < 2 ? a.value[2 * i % 4] : b.value[2 * i % 4];
        T& right = !interleaved ? b.value[i] : i < 2 ? a.value[2 * i % 4 + 1] : b.value[2 * i % 4 + 1];
        const float p = to_float(left), q = to_float(right);
        const float cosine = cosines[4 * quad + i], sine = sines[4 * quad + i];
        left = from_float<T>(p * cosine - q * sine);
        right = from_float<T>(q * cosine + p * sine);
      }
      out[first] = a;
      out[second] = b;
    }
  }
};

using RopeVariants = Variants<RopeBlock<float>, RopeBlock<bf16>, RopeBlock<fp16>>;

class Rope final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t tokens = 33, heads = 4, head_dim = 64;
    std::size_t rotary_dim = 0;  ///< Elements of a head that are turned, the first ones; 0: all.
    std::string positions = "text";
    /// Pairs of each axis; given for "m-rope" only.
    std::vector<std::size_t> sections = {};
    double base = 10000;
    /// A pair is (2 i, 2 i + 1), as GPT-J has it, in place of (i, i + rotary_dim / 2), as GPT-NeoX.
    bool interleaved = false;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),
                        key("tokens", &Shape::tokens),
                        key("heads", &Shape::heads),
                        key("head_dim", &Shape::head_dim),
                        key("rotary_dim", &Shape::rotary_dim),
                        key("positions", &Shape::positions),
                        key("sections", &Shape::sections),
                        key("base", &Shape::base),
                        key("interleaved", &Shape::interleaved)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "rope";
  static constexpr std::string_view summary = "rotary position embedding: text, m-rope or vision positions";
  enum PartIndex : std::size_t { x, positions, frequencies, axes, out, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Rope(const Shape& shape) : shape_(shape) {
    const std::size_t rotary = rotary_dim();
    require(shape.tokens > 0 && shape.tokens <= tokens_max, "tokens must be between 1 and 2^30");
    require(shape.heads > 0 && shape.heads <= grid_rows_max, "heads must be between 1 and 65535");
    require(shape.head_dim > 0 && shape.head_dim % 8 == 0 && shape.head_dim <= 512,
            "head_dim must be a multiple of 8 up to 512");
    require(rotary <= shape.head_dim && rotary % 8 == 0,
            "rotary_dim must be a multiple of 8 and no more than head_dim");
    require(shape.base > 1, "base must be above 1");
    const std::size_t pairs = rotary / 2;
    if (shape.positions == "text") {
      sections_ = {pairs};
    } else if (shape.positions == "vision") {
      require(pairs % 2 == 0, "vision positions share the pairs evenly");
      sections_ = {pairs / 2, pairs / 2};
    } else {
      require(shape.positions == "m-rope",
              "unknown positions '" + shape.positions + "'; known: text, m-rope, vision");
      sections_ = shape.sections;
    }
    require(shape.sections.empty() || shape.positions == "m-rope", "sections are for m-rope only");
    require(std::ranges::all_of(sections_, [&](std::size_t section) { return section <= pairs; }) &&
                std::reduce(sections_.begin(), sections_.end()) == pairs && sections_.size() <= 8,
            "sections must add up to the " + std::to_string(pairs) + " pairs of rotary_dim");
    bytes_[x] = bytes_[out] =
        checked_product("x of rope", {shape.tokens, shape.heads, shape.head_dim, element_bytes(shape.type)});
    bytes_[positions] = checked_product("positions", {sections_.size(), shape.tokens, sizeof(std::int32_t)});
    bytes_[frequencies] = pairs * sizeof(float);
    bytes_[axes] = pairs * sizeof(std::int32_t);
  }

  /// Shapes for tests: every kind of positions and type at the head sizes that models have them with.
  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16", "fp16"}) {
      made.push_back({.type = type, .tokens = 1, .heads = 1});
      made.push_back({.type = type, .tokens = 7, .heads = 9, .head_dim = 128, .base = 1e6});
      made.push_back({.type = type, .tokens = 5, .head_dim = 96, .rotary_dim = 24});
      made.push_back({.type = type, .tokens = 4, .head_dim = 64, .rotary_dim = 32, .interleaved = true});
      made.push_back({.type = type,
                      .tokens = 6,
                      .head_dim = 128,
                      .positions = "m-rope",
                      .sections = {16, 24, 24},
                      .base = 1e6});
      for (const std::size_t head_dim : {72, 80})
        made.push_back({.type = type, .tokens = 3, .heads = 16, .head_dim = head_dim, .positions = "vision"});
    }
    return made;
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "x", .bytes = bytes_[x]},
            {.name = "positions", .bytes = bytes_[positions], .payload = false},
            {.name = "frequencies", .bytes = bytes_[frequencies]},
            {.name = "axes", .bytes = bytes_[axes], .payload = false},
            {.name = "out", .bytes = bytes_[out], .role = Part::Role::output}};
  }

  /// Positions up to 2^15; frequencies and axes are what the shape makes them.
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    if (index == x) return fill_normal(shape_.type, seed, index, to);
    if (index == axes) return fill_integers(axis_of_pairs(), to);
    if (index == positions) {
      Random random(seed);
      std::vector<std::int32_t> drawn(to.size() / sizeof(std::int32_t));
      for (std::int32_t& position : drawn) position = static_cast<std::int32_t>(random() >> 49);
      return fill_integers(drawn, to);
    }
    for (std::size_t pair = 0; pair < to.size() / sizeof(float); ++pair) {
      const auto rounded = static_cast<float>(frequency(pair));
      std::memcpy(&to[pair * sizeof(float)], &rounded, sizeof rounded);
    }
  }

  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
    const auto of = integers(parts[axes]), wanted = axis_of_pairs();
    for (std::size_t i = 0; i < of.size(); ++i)
      if (of[i] != wanted[i])
        return "axes[" + std::to_string(i) + "] is " + std::to_string(of[i]) + ", the shape says " +
               std::to_string(wanted[i]);
    const auto at = integers(parts[positions]);
    for (std::size_t i = 0; i < at.size(); ++i)
      if (at[i] < 0 || at[i] >= 1 << 24)  // Where floats, of which angles are made, skip integers.
        return "positions[" + std::to_string(i / shape_.tokens) + "][" + std::to_string(i % shape_.tokens) +
               "] is " + std::to_string(at[i]);
    return {};
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    if (const Status wrong = check_parts(plan(), parts); wrong != Status::success) return wrong;
    if (shape_.type == NumberTraits<bf16>::name) return launch_as<bf16>(device, stream, parts);
    if (shape_.type == NumberTraits<fp16>::name) return launch_as<fp16>(device, stream, parts);
    return launch_as<float>(device, stream, parts);
  }

  /// With e = 2^-24: the frequency and its product with the position are rounded, so the angle errs by 2 e of
  /// itself; sine and cosine err by 4 e beside that (2 ulp by the CUDA programming guide), the two products
  /// and their sum by 3 e of |a| + |b|; then the result is rounded to the type.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    constexpr double e = 0x1p-24;
    const Shape& s = shape_;
    const double step = s.type == NumberTraits<fp16>::name ? 0x1p-25 : 0;
    const HostTensor from(parts[x], s.type, {s.tokens, s.heads, s.head_dim});
    const HostTensor got(parts[out], s.type, {s.tokens, s.heads, s.head_dim});
    const HostTensor at(parts[positions], "int32", {sections_.size(), s.tokens});
    const std::size_t pairs = rotary_dim() / 2;
    Judge judge(norm_limit(s.type) * 64);  // Angles err by their size, so the norm says little here.
    for (std::size_t t = 0; t < s.tokens; ++t) {
      for (std::size_t h = 0; h < s.heads; ++h) {
        const auto say = [&](std::size_t d) {
          return "out[" + std::to_string(t) + "][" + std::to_string(h) + "][" + std::to_string(d) + "]";
        };
        for (std::size_t d = 2 * pairs; d < s.head_dim; ++d)
          judge.take(got.at({t, h, d}), from.at({t, h, d}), 0, [&] { return say(d); });
        std::size_t pair = 0;
        for (std::size_t axis = 0; axis < sections_.size(); ++axis) {
          for (std::size_t i = 0; i < sections_[axis]; ++i, ++pair) {
            const std::size_t left = s.interleaved ? 2 * pair : pair;
            const std::size_t right = s.interleaved ? left + 1 : pair + pairs;
            const double angle = at.at({axis, t}) * frequency(pair);
            const double a = from.at({t, h, left}), b = from.at({t, h, right});
            const double error = (std::abs(a) + std::abs(b)) * (2 * e * angle + 7 * e);
            const auto take = [&](std::size_t d, double right_value) {
              judge.take(got.at({t, h, d}), right_value,
                         error + unit_roundoff(s.type) * (std::abs(right_value) + error) + step,
                         [&] { return say(d); });
            };
            take(left, a * std::cos(angle) - b * std::sin(angle));
            take(right, b * std::cos(angle) + a * std::sin(angle));
          }
        }
      }
    }
    return judge.verdict();
  }

  /// Four products and two sums for each pair.
  double flops() const override {
    return static_cast<double>(shape_.tokens * shape_.heads) * 3 * static_cast<double>(rotary_dim());
  }

 private:
  std::size_t rotary_dim() const { return shape_.rotary_dim == 0 ? shape_.head_dim : shape_.rotary_dim; }

  /// base^(-2 i / n): over all pairs, or for vision positions over those of an axis.
  double frequency(std::size_t pair) const {
    const std::size_t run = shape_.positions == "vision" ? sections_[0] : rotary_dim() / 2;
    return std::pow(shape_.base, -static_cast<double>(pair % run) / static_cast<double>(run));
  }

  std::vector<std::int32_t> axis_of_pairs() const {
    std::vector<std::int32_t> of;
    for (std::size_t axis = 0; axis < sections_.size(); ++axis)
      of.insert(of.end(), sections_[axis], static_cast<std::int32_t>(axis));
    return of;
  }

  template <typename T>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    const RopeArguments<T> arguments{.x = static_cast<const T*>(parts[x]),
                                     .positions = static_cast<const std::int32_t*>(parts[positions]),
                                     .frequencies = static_cast<const float*>(parts[frequencies]),
                                     .axes = static_cast<const std::int32_t*>(parts[axes]),
                                     .out = static_cast<T*>(parts[out]),
                                     .tokens = static_cast<int>(shape_.tokens),
                                     .heads = static_cast<int>(shape_.heads),
                                     .head_dim = static_cast<int>(shape_.head_dim),
                                     .pairs = static_cast<int>(rotary_dim() / 2),
                                     .interleaved = shape_.interleaved};
    const Operand operands[] = {{"x", parts[x], bytes_[x], Access::read},
                                {"positions", parts[positions], bytes_[positions], Access::read},
                                {"frequencies", parts[frequencies], bytes_[frequencies], Access::read},
                                {"axes", parts[axes], bytes_[axes], Access::read},
                                {"out", parts[out], bytes_[out], Access::write}};
    const Bodies bodies = bodies_of<RopeVariants, RopeBlock<T>>();
    return device.launch({.kernel = kernel_name,
                          .grid = {static_cast<unsigned>(shape_.tokens)},
                          .block = {RopeBlock<T>::threads_max},
                          .shared_bytes = rotary_dim() * sizeof(float),
                          .stream = stream,
                          .operands = operands,
                          .arguments = &arguments,
                          .arguments_bytes = sizeof arguments,
                          .host = bodies.host,
                          .cuda = bodies.cuda});
  }

  Shape shape_;
  std::vector<std::size_t> sections_;
  std::array<std::size_t, part_count> bytes_{};
};

}  // namespace drought
