// The first layer of a vision encoder: a convolution whose kernel is as large as its stride, so that every
// patch is multiplied once, as a row of channels x temporal x patch x patch numbers, by a matrix of that many
// columns (Qwen2.5-VL: 3 x 2 x 14 x 14 = 1176, to 1280). A block is four warps, 64 patches by 64 output
// columns; the next piece of both arrives while one is multiplied. Rows whose length is no multiple of 16
// bytes are read by elements.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/tile.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct PatchEmbeddingArguments {
  const T *x, *weight, *bias;  // x [patches][depth], weight [columns][depth], bias [columns] or null.
  T* out;                      // [patches][columns]
  int patches, depth, columns;
};

template <typename T>
struct PatchEmbeddingBlock {
  static constexpr int warps = 4, rows = warps * tile_rows, columns = 64, depth = 64, pitch = depth + 8;
  static constexpr unsigned threads_max = warps * warp_lanes;
  static constexpr int threads = static_cast<int>(threads_max), tile = rows * pitch;
  static constexpr std::size_t shared_bytes = 4 * tile * sizeof(T);  // Two of x, two of the weights.
  using Arguments = PatchEmbeddingArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const int first_row = static_cast<int>(context.block().x) * rows;
    const int first_column = static_cast<int>(context.block().y) * columns;
    T* const tiles = context.template shared<T>(0, 4 * tile);
    const auto bring = [&](int first, int stage) {
      copy_tile(context, tiles + stage * tile, given.x, first_row, given.patches, first, given.depth);
      copy_tile(context, tiles + (2 + stage) * tile, given.weight, first_column, given.columns, first,
                given.depth);
      context.commit();
    };
    Fragment<columns> sums{};
    bring(0, 0);
    for (int first = 0, stage = 0; first < given.depth; first += depth, stage ^= 1) {
      if (first + depth < given.depth) {
        bring(first + depth, stage ^ 1);
      } else {
        context.commit();
      }
      context.template wait<1>();
      context.sync();
      context.template multiply_by_transposed<depth>(
          sums, Tile<const T>{tiles + stage * tile + context.warp() * tile_rows * pitch, pitch},
          Tile<const T>{tiles + (2 + stage) * tile, pitch});
      context.sync();  // Nobody reads this stage any more.
    }
    const auto out = context.global(given.out);
    const auto bias = context.global(given.bias);
    DROUGHT_UNROLL
    for (int t = 0; t < columns / 8; ++t) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = first_row + context.warp() * tile_rows + Fragment<columns>::row(context.lane(), e);
        const int column = first_column + Fragment<columns>::column(context.lane(), t, e);
        if (row >= given.patches || column >= given.columns) continue;
        const float added = given.bias ? to_float(bias[static_cast<std::size_t>(column)]) : 0.0f;
        out[static_cast<std::size_t>(row) * static_cast<std::size_t>(given.columns) +
            static_cast<std::size_t>(column)] = from_float<T>(sums.value[t][e] + added);
      }
    }
  }

 private:
  /// Rows [first_row, + 64) and elements [first, + 64) of a matrix; zeros where it has none.
  template <typename Context>
  DROUGHT_DEVICE static void copy_tile(Context& context, T* to, const T* matrix, int first_row, int all_rows,
                                       int first, int row_length) {
    const auto from = context.global(matrix);
    const auto start_of = [&](int row) {
      return static_cast<std::size_t>(first_row + row) * static_cast<std::size_t>(row_length);
    };
    constexpr int elements = 16 / static_cast<int>(sizeof(T)), pieces = depth / elements;
    if (row_length % elements == 0) {
      for (int i = context.thread(); i < rows * pieces; i += threads) {
        const int row = i / pieces, at = i % pieces * elements;
        const bool valid = first_row + row < all_rows && first + at < row_length;
        context.copy_async(to + row * pitch + at, from,
                           valid ? start_of(row) + static_cast<std::size_t>(first + at) : 0, valid);
      }
      return;
    }
    for (int i = context.thread(); i < rows * depth; i += threads) {
      const int row = i / depth, at = i % depth;
      const bool valid = first_row + row < all_rows && first + at < row_length;
      to[row * pitch + at] =
          valid ? from[start_of(row) + static_cast<std::size_t>(first + at)] : from_float<T>(0.0f);
    }
  }
};

using PatchEmbeddingVariants =
    Variants<PatchEmbeddingBlock<float>, PatchEmbeddingBlock<bf16>, PatchEmbeddingBlock<fp16>>;

class PatchEmbedding final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t patches = 17;
    std::size_t channels = 3, temporal = 2,
                patch = 4;     ///< Their product with patch once more: a patch's row.
    std::size_t columns = 80;  ///< Of the embedding.
    bool bias = false;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),         key("patches", &Shape::patches),
                        key("channels", &Shape::channels), key("temporal", &Shape::temporal),
                        key("patch", &Shape::patch),       key("columns", &Shape::columns),
                        key("bias", &Shape::bias)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "patch_embedding";
  static constexpr std::string_view summary =
      "patches of pixels times a matrix: a vision encoder's first layer";
  enum PartIndex : std::size_t { x, weight, bias, out, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit PatchEmbedding(const Shape& shape) : shape_(shape) {
    const std::size_t element = element_bytes(shape.type);
    depth_ = checked_product("a patch", {shape.channels, shape.temporal, shape.patch, shape.patch});
    require(depth_ > 0 && depth_ <= tokens_max, "a patch must have between 1 and 2^30 numbers");
    require(shape.patches > 0 && shape.patches <= tokens_max, "patches must be between 1 and 2^30");
    require(shape.columns > 0 && shape.columns <= grid_rows_max * PatchEmbeddingBlock<bf16>::columns,
            "columns must be between 1 and 4194240");
    bytes_[x] = checked_product("x of patch_embedding", {shape.patches, depth_, element});
    bytes_[weight] = checked_product("weight of patch_embedding", {shape.columns, depth_, element});
    bytes_[bias] = shape.bias ? shape.columns * element : 0;
    bytes_[out] = checked_product("out of patch_embedding", {shape.patches, shape.columns, element});
  }

  /// Shapes for tests: rows that fill tiles, end within one, and are not aligned.
  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16", "fp16"}) {
      made.push_back({.type = type});
      made.push_back({.type = type, .patches = 1, .channels = 1, .temporal = 1, .patch = 1, .columns = 1});
      made.push_back({.type = type, .patches = 65, .patch = 5, .columns = 65, .bias = true});
      made.push_back({.type = type, .patches = 64, .channels = 1, .patch = 8, .columns = 128, .bias = true});
      made.push_back({.type = type, .patches = 5, .patch = 14, .columns = 72});
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
    return FloatTypes::visit(shape_.type, [&]<typename T>(T) {
      using Block = PatchEmbeddingBlock<T>;
      const PatchEmbeddingArguments<T> arguments{.x = static_cast<const T*>(parts[x]),
                                                 .weight = static_cast<const T*>(parts[weight]),
                                                 .bias = static_cast<const T*>(parts[bias]),
                                                 .out = static_cast<T*>(parts[out]),
                                                 .patches = static_cast<int>(shape_.patches),
                                                 .depth = static_cast<int>(depth_),
                                                 .columns = static_cast<int>(shape_.columns)};
      const auto blocks = [](std::size_t all, int each) {
        return static_cast<unsigned>((all + static_cast<std::size_t>(each) - 1) /
                                     static_cast<std::size_t>(each));
      };
      return launch_parts<PatchEmbeddingVariants, Block>(
          device, plan(), parts, arguments,
          {.kernel = kernel_name,
           .grid = {blocks(shape_.patches, Block::rows), blocks(shape_.columns, Block::columns)},
           .shared_bytes = Block::shared_bytes,
           .stream = stream});
    });
  }

  /// A sum of n products in fp32, in whatever order, errs by (n + 1) 2^-24 of the sum of their absolute
  /// values (products of 16-bit numbers are exact, those of fp32 are rounded, hence n + 2 and the bias n +
  /// 3); then the result is rounded to the type.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const HostTensor from(parts[x], s.type, {s.patches, depth_}),
        by(parts[weight], s.type, {s.columns, depth_});
    const HostTensor added(parts[bias], s.type, {s.bias ? s.columns : 0});
    const HostTensor got(parts[out], s.type, {s.patches, s.columns});
    const double step = underflow_error(s.type);
    Judge judge(norm_limit(s.type));
    for (std::size_t p = 0; p < s.patches; ++p) {
      const auto row = from.row({p});
      for (std::size_t c = 0; c < s.columns; ++c) {
        const auto column = by.row({c});
        double sum = s.bias ? added.at({c}) : 0, absolute = std::abs(sum);
        for (std::size_t i = 0; i < depth_; ++i) {
          sum += row[i] * column[i];
          absolute += std::abs(row[i] * column[i]);
        }
        const double error = (static_cast<double>(depth_) + 3) * 0x1p-24 * absolute;
        judge.take(got.at({p, c}), sum, error + unit_roundoff(s.type) * (std::abs(sum) + error) + step,
                   [&] { return "out[" + std::to_string(p) + "][" + std::to_string(c) + "]"; });
      }
    }
    return judge.verdict();
  }

  double flops() const override { return 2 * static_cast<double>(shape_.patches * shape_.columns * depth_); }

 private:
  Shape shape_;
  std::size_t depth_ = 0;
  std::array<std::size_t, part_count> bytes_{};
};

}  // namespace drought
