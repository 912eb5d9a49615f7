// RMSNorm (Zhang and Sennrich 2019) and LayerNorm of rows, with the residual added first where there is one:
// what stands between all blocks of a transformer. The sum is rounded to the type before it is normed, so
// that the norm is that of what the next residual is added to. Rows may change places on the way, by squares
// of an image, which is what a patch merger is. A block of four warps takes a row.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/rows.hpp"
#include "kernels/shape.hpp"

namespace drought {

enum class NormKind : int { none, rms, layer };

/// Where rows go that are the patches of images, row after row of each: the merge * merge patches of a square
/// follow each other. merge 1: every row stays.
struct NormSquares {
  unsigned rows = 1, columns = 1, merge = 1;  // Of an image, both multiples of merge.

  DROUGHT_ANYWHERE unsigned place(unsigned patch) const {
    if (merge == 1) return patch;
    const unsigned image = patch / (rows * columns), at = patch % (rows * columns);
    const unsigned row = at / columns, column = at % columns;
    const unsigned square = (image * (rows / merge) + row / merge) * (columns / merge) + column / merge;
    return square * merge * merge + row % merge * merge + column % merge;
  }
};

template <typename T>
struct NormArguments {
  const T *x, *residual;   // [rows][width]; no residual: null.
  const T *weight, *bias;  // [width]; no norm: both null; bias of LayerNorm alone.
  T *out, *sum;            // [rows][width]; sum of x and residual, null without.
  int width;
  float epsilon;
  NormSquares squares;
};

template <typename T, NormKind kind>
struct NormBlock {
  static constexpr unsigned threads_max = row_threads;
  using Arguments = NormArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto x = context.global(given.x), residual = context.global(given.residual);
    const auto weight = context.global(given.weight), bias = context.global(given.bias);
    const auto out = context.global(given.out), sum = context.global(given.sum);
    const auto width = static_cast<std::size_t>(given.width);
    const std::size_t row = context.block().x * width;
    const std::size_t to = given.squares.place(context.block().x) * width;
    const auto first = static_cast<std::size_t>(context.thread());
    const auto element = [&](std::size_t i) {
      const float plain = to_float(x[row + i]);
      return given.residual ? to_float(from_float<T>(plain + to_float(residual[row + i]))) : plain;
    };
    const float scale = 1.0f / static_cast<float>(given.width);
    float mean = 0.0f;
    if constexpr (kind == NormKind::layer) {
      float total = 0.0f;
      for (std::size_t i = first; i < width; i += row_threads) total += element(i);
      mean = sum_of_row(context, total) * scale;
    }
    float inverse = 1.0f;
    if constexpr (kind != NormKind::none) {
      float squares = 0.0f;
      for (std::size_t i = first; i < width; i += row_threads) {
        const float deviation = element(i) - mean;
        squares += deviation * deviation;
      }
      inverse = 1.0f / square_root(sum_of_row(context, squares) * scale + given.epsilon);
    }
    for (std::size_t i = first; i < width; i += row_threads) {
      float value = element(i);
      if (given.residual) sum[row + i] = from_float<T>(value);
      if constexpr (kind != NormKind::none) value = (value - mean) * inverse * to_float(weight[i]);
      if constexpr (kind == NormKind::layer) value += to_float(bias[i]);
      out[to + i] = from_float<T>(value);
    }
  }
};

using NormVariants = Variants<
    NormBlock<float, NormKind::none>, NormBlock<float, NormKind::rms>, NormBlock<float, NormKind::layer>,
    NormBlock<bf16, NormKind::none>, NormBlock<bf16, NormKind::rms>, NormBlock<bf16, NormKind::layer>,
    NormBlock<fp16, NormKind::none>, NormBlock<fp16, NormKind::rms>, NormBlock<fp16, NormKind::layer>>;

class Norm final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::string kind = "rms";  ///< "rms", "layer" or "none".
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
  enum PartIndex : std::size_t { x, residual, weight, bias, out, sum, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Norm(const Shape& shape) : shape_(shape) {
    require(shape.kind == "none" || shape.kind == "rms" || shape.kind == "layer",
            "unknown kind '" + shape.kind + "'; known: none, rms, layer");
    kind_ = shape.kind == "none" ? NormKind::none : shape.kind == "rms" ? NormKind::rms : NormKind::layer;
    require_rows(shape.rows, shape.width);
    require(shape.epsilon > 0 && shape.epsilon < 1, "epsilon must be above 0 and below 1");
    row_bytes_ = checked_product("weight", {shape.width, element_bytes(shape.type)});
    bytes_ = checked_product("x", {shape.rows, row_bytes_});
  }

  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16", "fp16"})
      for (const char* const kind : {"rms", "layer", "none"})
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
            {.name = "weight", .bytes = kind_ == NormKind::none ? 0 : row_bytes_},
            {.name = "bias", .bytes = is_centred() ? row_bytes_ : 0},
            {.name = "out", .bytes = bytes_, .role = Part::Role::output},
            {.name = "sum", .bytes = added, .role = Part::Role::output}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    fill_normal(shape_.type, seed, index, to);
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return launch_as(kernel_name, device, stream, parts, {});
  }
  /// The same under the name of a kernel that is a case of this one.
  Status launch_as(std::string_view name, Device& device, Stream stream, std::span<void* const> parts,
                   const NormSquares& squares) const {
    return FloatTypes::visit(shape_.type, [&]<typename T>(T) {
      const NormArguments<T> arguments{.x = static_cast<const T*>(parts[x]),
                                       .residual = static_cast<const T*>(parts[residual]),
                                       .weight = static_cast<const T*>(parts[weight]),
                                       .bias = static_cast<const T*>(parts[bias]),
                                       .out = static_cast<T*>(parts[out]),
                                       .sum = static_cast<T*>(parts[sum]),
                                       .width = static_cast<int>(shape_.width),
                                       .epsilon = static_cast<float>(shape_.epsilon),
                                       .squares = squares};
      const auto launch_block = [&]<typename Block>(Block) {
        return launch_parts<NormVariants, Block>(device, plan(), parts, arguments,
                                                 {.kernel = name,
                                                  .grid = {static_cast<unsigned>(shape_.rows)},
                                                  .shared_bytes = row_shared_bytes,
                                                  .stream = stream});
      };
      switch (kind_) {
        case NormKind::none:
          return launch_block(NormBlock<T, NormKind::none>{});
        case NormKind::rms:
          return launch_block(NormBlock<T, NormKind::rms>{});
        case NormKind::layer:
          return launch_block(NormBlock<T, NormKind::layer>{});
      }
      __builtin_unreachable();
    });
  }

  // Let e be the roundoff of fp32, k = width / 128 + 12 the most terms that meet in one sum, and s the row.
  // The mean errs by m = k e mean|s|, so a deviation d = s - mean by c = m + 2 e max|s| (RMSNorm: 0), the
  // variance by k e relatively and by 2 c / sqrt(variance) (Cauchy and Schwarz). Four more roundings follow
  // and that to the type.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    return compare_as(parts, {});
  }
  Comparison compare_as(std::span<const std::span<const std::byte>> parts, const NormSquares& squares) const {
    const Shape& s = shape_;
    const HostTensor inputs(parts[x], s.type, {s.rows, s.width});
    const HostTensor weights(parts[weight], s.type, {kind_ == NormKind::none ? 0 : s.width});
    const HostTensor biases(parts[bias], s.type, {is_centred() ? s.width : 0});
    const HostTensor got(parts[out], s.type, {s.rows, s.width});
    Judge judge(norm_limit(s.type));
    std::vector<double> row(s.width);
    const std::vector<std::size_t> source = sources(squares);
    for (std::size_t to = 0; to < s.rows; ++to) {
      const std::size_t r = source[to];
      for (std::size_t i = 0; i < s.width; ++i) row[i] = inputs.at({r, i});
      if (s.residual) take_sums(parts, r, row, judge);
      const Spread spread = spread_of(row);
      for (std::size_t i = 0; i < s.width; ++i) {
        const double added = is_centred() ? biases.at({i}) : 0;
        const double weight_here = kind_ == NormKind::none ? 1 : weights.at({i});
        const double deviation = row[i] - spread.mean, scaled = weight_here / spread.deviation;
        const double expected = deviation * scaled + added;
        const double tolerance =
            std::abs(scaled) * (spread.error + std::abs(deviation) * spread.relative_error) +
            0x1p-24 * std::abs(added) + unit_roundoff(s.type) * std::abs(expected) + underflow_error(s.type);
        judge.take(got.at({to, i}), expected, kind_ == NormKind::none ? 0 : tolerance,
                   [&] { return place_text("out", to, i); });
      }
    }
    return judge.verdict();
  }

  double flops() const override { return 6 * static_cast<double>(shape_.rows * shape_.width); }

 private:
  struct Spread {
    double mean = 0, deviation = 0, error = 0, relative_error = 0;
  };

  bool is_centred() const { return kind_ == NormKind::layer; }

  /// Judges the sums of a row, each of which is one addition and one rounding, and goes on with what they
  /// are.
  void take_sums(std::span<const std::span<const std::byte>> parts, std::size_t r, std::vector<double>& row,
                 Judge& judge) const {
    const HostTensor added(parts[residual], shape_.type, {shape_.rows, shape_.width});
    const HostTensor sums(parts[sum], shape_.type, {shape_.rows, shape_.width});
    for (std::size_t i = 0; i < shape_.width; ++i) {
      const double expected = row[i] + added.at({r, i});
      judge.take(sums.at({r, i}), expected,
                 unit_roundoff(shape_.type) * std::abs(expected) + underflow_error(shape_.type),
                 [&] { return place_text("sum", r, i); });
      row[i] = sums.at({r, i});
    }
  }

  /// The row of x that each row of the output is made of, square by square.
  std::vector<std::size_t> sources(const NormSquares& of) const {
    std::vector<std::size_t> sources;
    for (std::size_t first = 0; first < shape_.rows; first += of.rows * of.columns)
      for (std::size_t top = 0; top < of.rows; top += of.merge)
        for (std::size_t left = 0; left < of.columns; left += of.merge)
          for (std::size_t row = top; row < top + of.merge; ++row)
            for (std::size_t column = left; column < left + of.merge; ++column)
              sources.push_back(first + row * of.columns + column);
    return sources;
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
    if (kind_ == NormKind::none) return {.deviation = 1};
    if (is_centred()) {
      spread.mean = total / n;
      spread.error = terms * absolute / n + 2 * 0x1p-24 * largest;
    }
    for (const double value : row) squares += (value - spread.mean) * (value - spread.mean);
    spread.deviation = std::sqrt(squares / n + shape_.epsilon);
    spread.relative_error = terms + spread.error / spread.deviation + 4 * 0x1p-24;
    return spread;
  }

  const Shape shape_;
  NormKind kind_ = NormKind::none;
  std::size_t bytes_ = 0, row_bytes_ = 0;
};

}  // namespace drought
