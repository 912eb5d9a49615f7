// What stands between a vision encoder and its language model: the patches of each merge x merge square of an
// image are normalized, each by itself, and set side by side as one token, which a product of matrices then
// takes (Qwen2-VL: layer norm, merge 2; Qwen2.5-VL: RMS norm). Patches lie row after row of the image. A
// block makes one token, a warp a patch.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "harness/simt/tile.hpp"
#include "kernels/oracle.hpp"
#include "kernels/shape.hpp"

namespace drought {

enum class PatchNorm : int { none, layer, rms };

template <typename T>
struct PatchMergerArguments {
  const T *x, *weight, *bias;  // x [images][rows][columns][hidden]; weight and bias [hidden], or null.
  T* out;                      // [images][rows / merge][columns / merge][merge * merge * hidden]
  int rows, columns, hidden, merge;
  PatchNorm norm;
  float epsilon;
};

template <typename T>
struct PatchMergerBlock {
  static constexpr int warps = 4;
  static constexpr unsigned threads_max = warps * warp_lanes;
  using Arguments = PatchMergerArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto x = context.global(given.x), weight = context.global(given.weight),
               bias = context.global(given.bias);
    const auto out = context.global(given.out);
    const int across = given.columns / given.merge, down = given.rows / given.merge;
    const int token = static_cast<int>(context.block().x);
    const int column = token % across, row = token / across % down, image = token / across / down;
    const int lane = context.lane(), hidden = given.hidden, patches = given.merge * given.merge;
    for (int patch = context.warp(); patch < patches; patch += warps) {
      const int from_row = row * given.merge + patch / given.merge;
      const int from_column = column * given.merge + patch % given.merge;
      const std::size_t from = ((static_cast<std::size_t>(image) * static_cast<std::size_t>(given.rows) +
                                 static_cast<std::size_t>(from_row)) *
                                    static_cast<std::size_t>(given.columns) +
                                static_cast<std::size_t>(from_column)) *
                               static_cast<std::size_t>(hidden);
      const std::size_t to = (static_cast<std::size_t>(token) * static_cast<std::size_t>(patches) +
                              static_cast<std::size_t>(patch)) *
                             static_cast<std::size_t>(hidden);
      float mean = 0, scale = 1;
      if (given.norm == PatchNorm::layer)
        mean = sum_over(context, hidden, [&](std::size_t i) { return to_float(x[from + i]); }) /
               static_cast<float>(hidden);
      if (given.norm != PatchNorm::none) {
        const float squares = sum_over(context, hidden, [&](std::size_t i) {
          const float apart = to_float(x[from + i]) - mean;
          return apart * apart;
        });
        scale = 1 / sqrtf(squares / static_cast<float>(hidden) + given.epsilon);
      }
      for (int i = lane; i < hidden; i += warp_lanes) {
        const auto at = static_cast<std::size_t>(i);
        if (given.norm == PatchNorm::none) {
          out[to + at] = x[from + at];
          continue;
        }
        const float normal = (to_float(x[from + at]) - mean) * scale * to_float(weight[at]);
        out[to + at] = from_float<T>(given.bias ? normal + to_float(bias[at]) : normal);
      }
    }
  }

 private:
  template <typename Context, typename At>
  DROUGHT_DEVICE static float sum_over(Context& context, int count, At at) {
    float sum[1] = {0};
    for (int i = context.lane(); i < count; i += warp_lanes) sum[0] += at(static_cast<std::size_t>(i));
    context.template reduce_sum<warp_lanes>(sum);
    return sum[0];
  }
};

using PatchMergerVariants = Variants<PatchMergerBlock<float>, PatchMergerBlock<bf16>, PatchMergerBlock<fp16>>;

class PatchMerger final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t images = 1, rows = 4, columns = 6;  ///< Of patches; both multiples of merge.
    std::size_t hidden = 80;
    std::size_t merge = 2;
    std::string norm = "layer";
    double epsilon = 1e-6;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),     key("images", &Shape::images),
                        key("rows", &Shape::rows),     key("columns", &Shape::columns),
                        key("hidden", &Shape::hidden), key("merge", &Shape::merge),
                        key("norm", &Shape::norm),     key("epsilon", &Shape::epsilon)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "patch_merger";
  static constexpr std::string_view summary = "squares of normalized patches side by side as tokens";
  enum PartIndex : std::size_t { x, weight, bias, out, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit PatchMerger(const Shape& shape) : shape_(shape) {
    require(shape.norm == "none" || shape.norm == "layer" || shape.norm == "rms",
            "unknown norm '" + shape.norm + "'; known: none, layer, rms");
    norm_ = shape.norm == "none" ? PatchNorm::none : shape.norm == "rms" ? PatchNorm::rms : PatchNorm::layer;
    require(shape.merge > 0 && shape.merge <= 16, "merge must be between 1 and 16");
    require(shape.images > 0 && shape.rows > 0 && shape.columns > 0 && shape.hidden > 0,
            "images, rows, columns and hidden must not be 0");
    require(shape.rows % shape.merge == 0 && shape.columns % shape.merge == 0,
            "rows and columns must be multiples of merge");
    require(shape.epsilon > 0 && shape.epsilon < 1, "epsilon must be between 0 and 1");
    require(shape.hidden <= tokens_max, "hidden is more than 2^30");
    require(checked_product("patches", {shape.images, shape.rows, shape.columns}) <= tokens_max,
            "images, rows and columns are more than 2^30 patches");
    bytes_[x] = bytes_[out] = checked_product("x of patch_merger", {shape.images, shape.rows, shape.columns,
                                                                    shape.hidden, element_bytes(shape.type)});
    bytes_[weight] = norm_ == PatchNorm::none ? 0 : shape.hidden * element_bytes(shape.type);
    bytes_[bias] = norm_ == PatchNorm::layer ? bytes_[weight] : 0;
  }

  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16", "fp16"}) {
      for (const char* const norm : {"none", "layer", "rms"})
        made.push_back({.type = type, .images = 2, .hidden = 77, .norm = norm});
      made.push_back({.type = type, .rows = 3, .columns = 3, .hidden = 33, .merge = 3});
      made.push_back({.type = type, .rows = 2, .columns = 2, .hidden = 1280, .norm = "rms"});
      made.push_back({.type = type, .rows = 1, .columns = 5, .hidden = 1, .merge = 1});
    }
    return made;
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "x", .bytes = bytes_[x]},
            {.name = "weight", .bytes = bytes_[weight]},
            {.name = "bias", .bytes = bytes_[bias]},
            {.name = "out", .bytes = bytes_[out], .role = Part::Role::output}};
  }
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    fill_normal(shape_.type, seed, index, to);
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    if (shape_.type == NumberTraits<bf16>::name) return launch_as<bf16>(device, stream, parts);
    if (shape_.type == NumberTraits<fp16>::name) return launch_as<fp16>(device, stream, parts);
    return launch_as<float>(device, stream, parts);
  }

  /// With e = 2^-24, n = hidden and s the scale: the mean errs by m = (n + 1) e mean |x|; what is squared by
  /// m + e |x| each, so that half the relative error of the sum of squares is at most m s + (n + 4) e; the
  /// normal element by that relatively and by m s + 2 e |x| s absolutely; weight and bias add 3 e. Then the
  /// result is rounded to the type.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    constexpr double e = 0x1p-24;
    const Shape& s = shape_;
    const std::size_t across = s.columns / s.merge, down = s.rows / s.merge, n = s.hidden;
    const double count = static_cast<double>(n), step = s.type == NumberTraits<fp16>::name ? 0x1p-25 : 0;
    const HostTensor from(parts[x], s.type, {s.images, s.rows, s.columns, n});
    const HostTensor weights(parts[weight], s.type, {bytes_[weight] ? n : 0});
    const HostTensor biases(parts[bias], s.type, {bytes_[bias] ? n : 0});
    const HostTensor got(parts[out], s.type, {s.images, down, across, s.merge, s.merge, n});
    Judge judge(norm_limit(s.type));
    const auto judge_patch = [&](std::size_t image, std::size_t row, std::size_t column) {
      const auto patch = from.row({image, row, column});
      const auto made = got.row({image, row / s.merge, column / s.merge, row % s.merge, column % s.merge});
      double mean = 0, size = 0, squares = 0;
      for (const double value : patch) mean += value / count, size += std::abs(value) / count;
      if (norm_ != PatchNorm::layer) mean = 0;
      for (const double value : patch) squares += (value - mean) * (value - mean) / count;
      const double scale = norm_ == PatchNorm::none ? 1 : 1 / std::sqrt(squares + s.epsilon);
      const double mean_error = norm_ == PatchNorm::layer ? (count + 1) * e * size : 0;
      for (std::size_t i = 0; i < n; ++i) {
        double right = (patch[i] - mean) * scale;
        double error = std::abs(right) * (mean_error * scale + (count + 4) * e) +
                       (mean_error + 2 * e * std::abs(patch[i])) * scale;
        if (norm_ == PatchNorm::none) error = 0;
        if (bytes_[weight]) right *= weights.at({i}), error *= std::abs(weights.at({i}));
        if (bytes_[bias]) right += biases.at({i}), error += e * std::abs(biases.at({i}));
        error += 3 * e * std::abs(right);
        const double rounding =
            norm_ == PatchNorm::none ? 0 : unit_roundoff(s.type) * (std::abs(right) + error) + step;
        judge.take(made[i], right, error + rounding, [&] {
          return "patch " + std::to_string(image) + ", " + std::to_string(row) + ", " +
                 std::to_string(column) + " at " + std::to_string(i);
        });
      }
    };
    for (std::size_t image = 0; image < s.images; ++image)
      for (std::size_t row = 0; row < s.rows; ++row)
        for (std::size_t column = 0; column < s.columns; ++column) judge_patch(image, row, column);
    return judge.verdict();
  }

  double flops() const override {
    const double elements = static_cast<double>(bytes_[x] / element_bytes(shape_.type));
    return norm_ == PatchNorm::none ? 0 : elements * (norm_ == PatchNorm::layer ? 8 : 4);
  }

 private:
  template <typename T>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    const PatchMergerArguments<T> arguments{.x = static_cast<const T*>(parts[x]),
                                            .weight = static_cast<const T*>(parts[weight]),
                                            .bias = static_cast<const T*>(parts[bias]),
                                            .out = static_cast<T*>(parts[out]),
                                            .rows = static_cast<int>(shape_.rows),
                                            .columns = static_cast<int>(shape_.columns),
                                            .hidden = static_cast<int>(shape_.hidden),
                                            .merge = static_cast<int>(shape_.merge),
                                            .norm = norm_,
                                            .epsilon = static_cast<float>(shape_.epsilon)};
    const Operand operands[] = {{"x", parts[x], bytes_[x], Access::read},
                                {"weight", parts[weight], bytes_[weight], Access::read},
                                {"bias", parts[bias], bytes_[bias], Access::read},
                                {"out", parts[out], bytes_[out], Access::write}};
    const Bodies bodies = bodies_of<PatchMergerVariants, PatchMergerBlock<T>>();
    const std::size_t tokens = shape_.images * shape_.rows * shape_.columns / shape_.merge / shape_.merge;
    return device.launch({.kernel = kernel_name,
                          .grid = {static_cast<unsigned>(tokens)},
                          .block = {PatchMergerBlock<T>::threads_max},
                          .stream = stream,
                          .operands = operands,
                          .arguments = &arguments,
                          .arguments_bytes = sizeof arguments,
                          .host = bodies.host,
                          .cuda = bodies.cuda});
  }

  Shape shape_;
  PatchNorm norm_ = PatchNorm::none;
  std::array<std::size_t, part_count> bytes_{};
};

}  // namespace drought
