// What stands between a vision encoder and its language model: the patches of each merge x merge square of an
// image are normalized, each by itself, and set side by side as one token, which a product of matrices then
// takes (Qwen2-VL: layer norm, merge 2; Qwen2.5-VL: RMS norm). Patches lie row after row of the image. It is
// the norm of rows that change places.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/norm.hpp"
#include "kernels/shape.hpp"

namespace drought {

class PatchMerger final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t images = 1, rows = 4, columns = 6;  ///< Of patches; both multiples of merge.
    std::size_t hidden = 80;
    std::size_t merge = 2;
    std::string norm = "layer";  ///< As Norm's kind.
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
  explicit PatchMerger(const Shape& shape)
      : norm_(norm_of(shape)),
        squares_{static_cast<unsigned>(shape.rows), static_cast<unsigned>(shape.columns),
                 static_cast<unsigned>(shape.merge)} {}

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
    const std::vector<Part> of = norm_.plan();
    std::vector<Part> parts;
    for (const std::size_t place : in_norm) parts.push_back(of[place]);
    return parts;
  }
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    norm_.fill(in_norm[index], seed, to);
  }
  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return norm_.launch_as(kernel_name, device, stream, as_norms<void*>(parts), squares_);
  }
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    return norm_.compare_as(as_norms<std::span<const std::byte>>(parts), squares_);
  }
  double flops() const override { return norm_.flops(); }

 private:
  static constexpr std::array<std::size_t, part_count> in_norm{Norm::x, Norm::weight, Norm::bias, Norm::out};

  template <typename Each>
  static std::array<Each, Norm::part_count> as_norms(std::span<const Each> parts) {
    std::array<Each, Norm::part_count> given{};
    for (std::size_t i = 0; i < part_count; ++i) given[in_norm[i]] = parts[i];
    return given;
  }

  static Norm::Shape norm_of(const Shape& shape) {
    require(shape.merge > 0 && shape.merge <= 16, "merge must be between 1 and 16");
    require(shape.images > 0 && shape.rows > 0 && shape.columns > 0 && shape.hidden > 0,
            "images, rows, columns and hidden must not be 0");
    require(shape.rows % shape.merge == 0 && shape.columns % shape.merge == 0,
            "rows and columns must be multiples of merge");
    const std::size_t patches = checked_product("patches", {shape.images, shape.rows, shape.columns});
    require(patches <= tokens_max, "images, rows and columns are more than 2^30 patches");
    return {.type = shape.type,
            .kind = shape.norm,
            .rows = patches,
            .width = shape.hidden,
            .residual = false,
            .epsilon = shape.epsilon};
  }

  Norm norm_;
  NormSquares squares_;
};

}  // namespace drought
