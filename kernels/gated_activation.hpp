// The activation of a transformer's MLP: SiLU or the tanh form of GELU (Hendrycks and Gimpel 2016), times a
// second projection where the MLP is gated (SwiGLU, Shazeer 2020). Both are x times a logistic function, so
// that one exponential does for either: 0.5 (1 + tanh y) = 1 / (1 + e^(-2y)).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/rows.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct ActivationArguments {
  const T *gate, *up;  // [elements]; not gated: up is null.
  T* out;              // [elements]
  std::size_t elements;
};

/// The base-2 exponent of the logistic function by which x is multiplied.
template <bool is_gelu>
DROUGHT_ANYWHERE float activation_exponent(float x) {
  constexpr float log2_e = 1.44269504f;
  if constexpr (!is_gelu) return x * log2_e;
  constexpr float slope = 2.0f * 0.797884561f * log2_e;  // 2 sqrt(2 / pi) log2(e)
  return slope * (x + 0.044715f * x * x * x);
}

template <typename T, bool is_gelu>
struct ActivationBlock {
  static constexpr unsigned threads_max = row_threads;
  static constexpr std::size_t elements_of_block = 4 * threads_max;
  using Arguments = ActivationArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto gate = context.global(given.gate), up = context.global(given.up);
    const auto out = context.global(given.out);
    const std::size_t first =
        context.block().x * elements_of_block + static_cast<std::size_t>(context.thread());
    DROUGHT_UNROLL
    for (int turn = 0; turn < 4; ++turn) {
      const std::size_t i = first + static_cast<std::size_t>(turn) * threads_max;
      if (i >= given.elements) return;
      const float x = to_float(gate[i]);
      const float exponent = -activation_exponent<is_gelu>(x);
      // Where the power would overflow the quotient is below every float; infinity's is none, NaN.
      float value = exponent > 126.0f ? x * 0.0f : x / (1.0f + exp2_of(exponent));
      if (given.up) value *= to_float(up[i]);
      out[i] = from_float<T>(value);
    }
  }
};

using ActivationVariants =
    Variants<ActivationBlock<float, false>, ActivationBlock<float, true>, ActivationBlock<bf16, false>,
             ActivationBlock<bf16, true>, ActivationBlock<fp16, false>, ActivationBlock<fp16, true>>;

class GatedActivation final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::string function = "silu";  ///< "silu" or "gelu_tanh".
    std::size_t rows = 3, width = 130;
    bool gated = true;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type), key("function", &Shape::function),
                        key("rows", &Shape::rows), key("width", &Shape::width), key("gated", &Shape::gated)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "gated_activation";
  static constexpr std::string_view summary = "SiLU or GELU of a row, times a second where it is gated";
  enum PartIndex : std::size_t { gate, up, out };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit GatedActivation(const Shape& shape) : shape_(shape) {
    require(shape.function == "silu" || shape.function == "gelu_tanh",
            "unknown function '" + shape.function + "'; known: silu, gelu_tanh");
    require_rows(shape.rows, shape.width);
    bytes_ = checked_product("gate", {shape.rows, shape.width, element_bytes(shape.type)});
    require(blocks() <= 0x7fffffff, "rows times width is more than a grid takes");
  }

  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16", "fp16"})
      for (const char* const function : {"silu", "gelu_tanh"})
        for (const std::size_t width : {1, 171, 512})
          made.push_back({.type = type,
                          .function = function,
                          .rows = 1 + made.size() % 3,
                          .width = width,
                          .gated = made.size() % 2 == 0});
    return made;
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "gate", .bytes = bytes_},
            {.name = "up", .bytes = shape_.gated ? bytes_ : 0},
            {.name = "out", .bytes = bytes_, .role = Part::Role::output}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    fill_normal(shape_.type, seed, index, to);
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return FloatTypes::visit(shape_.type, [&]<typename T>(T) {
      return is_gelu() ? launch_as<T, true>(device, stream, parts)
                       : launch_as<T, false>(device, stream, parts);
    });
  }

  // The exponent t is five roundings, so it errs by 5 e |t|, of which the logistic function's relative error
  // is ln 2 times as much at most; exp2 adds 2^-21, and four operations follow before the last rounding.
  // Where the power would overflow, 0 stands for what is at most 88 * 2^-126.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const HostTensor gates(parts[gate], s.type, {s.rows, s.width}),
        got(parts[out], s.type, {s.rows, s.width});
    const HostTensor ups(s.gated ? parts[up] : parts[gate], s.type, {s.rows, s.width});
    Judge judge(norm_limit(s.type));
    for (std::size_t r = 0; r < s.rows; ++r) {
      for (std::size_t i = 0; i < s.width; ++i) {
        const double value = gates.at({r, i});
        const double y = is_gelu()
                             ? std::sqrt(2 / std::numbers::pi) * (value + 0.044715 * value * value * value)
                             : value / 2;
        const double expected = value * 0.5 * (1 + std::tanh(y)) * (s.gated ? ups.at({r, i}) : 1);
        const double relative = 0x1p-21 + (10 * std::abs(y) + 4) * 0x1p-24;
        const double tolerance = (relative + unit_roundoff(s.type)) * std::abs(expected) + 0x1p-119;
        judge.take(got.at({r, i}), expected, tolerance + underflow_error(s.type),
                   [&] { return place_text("out", r, i); });
      }
    }
    return judge.verdict();
  }

  double flops() const override { return 10 * static_cast<double>(shape_.rows * shape_.width); }

 private:
  bool is_gelu() const { return shape_.function == "gelu_tanh"; }
  std::size_t blocks() const {
    constexpr std::size_t each = ActivationBlock<float, false>::elements_of_block;
    return (shape_.rows * shape_.width + each - 1) / each;
  }

  template <typename T, bool gelu>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    const ActivationArguments<T> arguments{.gate = static_cast<const T*>(parts[gate]),
                                           .up = shape_.gated ? static_cast<const T*>(parts[up]) : nullptr,
                                           .out = static_cast<T*>(parts[out]),
                                           .elements = shape_.rows * shape_.width};
    return launch_parts<ActivationVariants, ActivationBlock<T, gelu>>(
        device, plan(), parts, arguments,
        {.kernel = kernel_name, .grid = {static_cast<unsigned>(blocks())}, .stream = stream});
  }

  const Shape shape_;
  std::size_t bytes_ = 0;
};

}  // namespace drought
