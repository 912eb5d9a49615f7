// RMSNorm (Zhang and Sennrich 2019) and LayerNorm of rows, with the residual added first where there is one:
// what stands between all blocks of a transformer. The sum is rounded to the type before it is normed, so
// that the norm is that of what the next residual is added to. A block of four warps takes a row.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/oracle.hpp"
#include "kernels/rows.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct NormArguments {
  const T *x, *residual;    // [rows][width]; no residual: null.
  const T *weight, *shift;  // [width]; shift of LayerNorm alone, else null.
  T *out, *sum;             // [rows][width]; sum of x and residual, null without.
  int width;
  float epsilon;
};

template <typename T, bool centred>
struct NormBlock {
  static constexpr unsigned threads_max = row_threads;
  using Arguments = NormArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto x = context.global(given.x), residual = context.global(given.residual);
    const auto weight = context.global(given.weight), shift = context.global(given.shift);
    const auto out = context.global(given.out), sum = context.global(given.sum);
    const auto width = static_cast<std::size_t>(given.width);
    const std::size_t row = context.block().x * width;
    const auto first = static_cast<std::size_t>(context.thread());
    const auto element = [&](std::size_t i) {
      const float plain = to_float(x[row + i]);
      return given.residual ? to_float(from_float<T>(plain + to_float(residual[row + i]))) : plain;
    };
    const float scale = 1.0f / static_cast<float>(given.width);
    float mean = 0.0f;
    if constexpr (centred) {
      float total = 0.0f;
      for (std::size_t i = first; i < width; i += row_threads) total += element(i);
      mean = sum_of_row(context, total) * scale;
    }
    float squares = 0.0f;
    for (std::size_t i = first; i < width; i += row_threads) {
      const float deviation = element(i) - mean;
      squares += deviation * deviation;
    }
    const float variance = sum_of_row(context, squares) * scale + given.epsilon;
    const float inverse = 1.0f / square_root(variance);
    for (std::size_t i = first; i < width; i += row_threads) {
      const float value = element(i);
      if (given.residual) sum[row + i] = from_float<T>(value);
      float normed = (value - mean) * inverse * to_float(weight[i]);
      if (centred) normed += to_float(shift[i]);
      out[row + i] = from_float<T>(normed);
    }
  }
};

using NormVariants =
    Variants<NormBlock<float, false>, NormBlock<float, true>, NormBlock<bf16, false>, NormBlock<bf16, true>>;

class Norm final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::string kind = "rms";  ///< "rms" or "layer".
    std::size_t rows = 3, width = 130;
    bool residual = true;
    double epsilon = 1e-6;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),         key("kind", &Shape::kind),
                        key("rows", &Shape::rows),         key("width", &Shape::width),
                        key("residual", &Shape::residual), key("epsilon", &Shape::epsilon)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "norm";
  static constexpr std::string_view summary = "RMSNorm or LayerNorm of rows, after adding a residual";
  enum PartIndex : std::size_t { x, residual, weight, shift, out, sum, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Norm(const Shape& shape) : shape_(shape) {
    require(shape.kind == "rms" || shape.kind == "layer",
            "unknown kind '" + shape.kind + "'; known: rms, layer");
    require_rows(shape.rows, shape.width);
    require(shape.epsilon > 0 && shape.epsilon < 1, "epsilon must be above 0 and below 1");
    weight_bytes_ = checked_product("weight", {shape.width, element_bytes(shape.type)});
    bytes_ = checked_product("x", {shape.rows, weight_bytes_});
  }

  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16"})
      for (const char* const kind : {"rms", "layer"})
        for (const std::size_t width : {1, 80, 127, 128, 129, 1000})
          made.push_back({.type = type,
                          .kind = kind,
                          .rows = 1 + made.size() % 3,
                          .width = width,
                          .residual = made.size() % 2 == 0});
    return made;
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    const std::size_t added = shape_.residual ? bytes_ : 0;
    return {{.name = "x", .bytes = bytes_},
            {.name = "residual", .bytes = added},
            {.name = "weight", .bytes = weight_bytes_},
            {.name = "shift", .bytes = is_centred() ? weight_bytes_ : 0},
            {.name = "out", .bytes = bytes_, .role = Part::Role::output},
            {.name = "sum", .bytes = added, .role = Part::Role::output}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    fill_normal(shape_.type, seed, index, to);
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return with_variant<0, 1>(shape_.type, is_centred(), [&](auto element, auto centred) {
      return launch_as<decltype(element), centred() == 1>(device, stream, parts);
    });
  }

  // Let e be the roundoff of fp32, k = width / 128 + 12 the most terms that meet in one sum, and s the row.
  // The mean errs by m = k e mean|s|, so a deviation d = s - mean by c = m + 2 e max|s| (RMSNorm: 0), the
  // variance by k e relatively and by 2 c / sqrt(variance) (Cauchy and Schwarz). Four more roundings follow
  // and that to the type.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const HostTensor inputs(parts[x], s.type, {s.rows, s.width});
    const HostTensor weights(parts[weight], s.type, {s.width}), got(parts[out], s.type, {s.rows, s.width});
    Judge judge(norm_limit(s.type));
    std::vector<double> row(s.width);
    for (std::size_t r = 0; r < s.rows; ++r) {
      for (std::size_t i = 0; i < s.width; ++i) row[i] = inputs.at({r, i});
      if (s.residual) take_sums(parts, r, row, judge);
      const Spread spread = spread_of(row);
      for (std::size_t i = 0; i < s.width; ++i) {
        const double added = is_centred() ? HostTensor(parts[shift], s.type, {s.width}).at({i}) : 0;
        const double deviation = row[i] - spread.mean, scaled = weights.at({i}) / spread.deviation;
        const double expected = deviation * scaled + added;
        const double tolerance =
            std::abs(scaled) * (spread.error + std::abs(deviation) * spread.relative_error) +
            0x1p-24 * std::abs(added) + unit_roundoff(s.type) * std::abs(expected);
        judge.take(got.at({r, i}), expected, tolerance, [&] { return place_text("out", r, i); });
      }
    }
    return judge.verdict();
  }

  double flops() const override { return 6 * static_cast<double>(shape_.rows * shape_.width); }

 private:
  struct Spread {
    double mean = 0, deviation = 0, error = 0, relative_error = 0;
  };

  bool is_centred() const { return shape_.kind == "layer"; }

  /// Judges the sums of a row, each of which is one addition and one rounding, and goes on with what they
  /// are.
  void take_sums(std::span<const std::span<const std::byte>> parts, std::size_t r, std::vector<double>& row,
                 Judge& judge) const {
    const HostTensor added(parts[residual], shape_.type, {shape_.rows, shape_.width});
    const HostTensor sums(parts[sum], shape_.type, {shape_.rows, shape_.width});
    for (std::size_t i = 0; i < shape_.width; ++i) {
      const double expected = row[i] + added.at({r, i});
      judge.take(sums.at({r, i}), expected, unit_roundoff(shape_.type) * std::abs(expected),
                 [&] { return place_text("sum", r, i); });
      row[i] = sums.at({r, i});
    }
  }

  Spread spread_of(const std::vector<double>& row) const {
    const double n = static_cast<double>(row.size()), terms = (n / row_threads + 12) * 0x1p-24;
    double total = 0, absolute = 0, largest = 0, squares = 0;
    for (const double value : row) {
      total += value;
      absolute += std::abs(value);
      largest = std::max(largest, std::abs(value));
    }
    Spread spread;
    if (is_centred()) {
      spread.mean = total / n;
      spread.error = terms * absolute / n + 2 * 0x1p-24 * largest;
    }
    for (const double value : row) squares += (value - spread.mean) * (value - spread.mean);
    spread.deviation = std::sqrt(squares / n + shape_.epsilon);
    spread.relative_error = terms + spread.error / spread.deviation + 4 * 0x1p-24;
    return spread;
  }

  template <typename T, bool centred>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    const NormArguments<T> arguments{
        .x = static_cast<const T*>(parts[x]),
        .residual = shape_.residual ? static_cast<const T*>(parts[residual]) : nullptr,
        .weight = static_cast<const T*>(parts[weight]),
        .shift = centred ? static_cast<const T*>(parts[shift]) : nullptr,
        .out = static_cast<T*>(parts[out]),
        .sum = shape_.residual ? static_cast<T*>(parts[sum]) : nullptr,
        .width = static_cast<int>(shape_.width),
        .epsilon = static_cast<float>(shape_.epsilon)};
    const std::vector<Operand> operands = operands_of(plan(), parts);
    const Bodies bodies = bodies_of<NormVariants, NormBlock<T, centred>>();
    return device.launch({.kernel = kernel_name,
                          .grid = {static_cast<unsigned>(shape_.rows)},
                          .block = {row_threads},
                          .shared_bytes = row_shared_bytes,
                          .stream = stream,
                          .operands = operands,
                          .arguments = &arguments,
                          .arguments_bytes = sizeof arguments,
                          .host = bodies.host,
                          .cuda = bodies.cuda});
  }

  const Shape shape_;
  std::size_t bytes_ = 0, weight_bytes_ = 0;
};

}  // namespace drought
