// Attention of a vision encoder: several images in one tensor, each a sequence that sees itself alone, not
// causal, with the head sizes that vision models have (72: SigLIP, Qwen3-VL; 80: Qwen2.5-VL). cu_seqlens says
// where the sequences begin; one may be empty. A block is four warps, 64 patches of one head; blocks past a
// sequence's end have nothing to do.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/attention.hpp"
#include "kernels/oracle.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct VisionArguments {
  const T *q, *k, *v;              // [total][heads][head_dim]
  const std::int32_t* cu_seqlens;  // [sequences + 1]
  T* out;                          // As q.
  int heads;
  float scale_log2;
};

template <typename T, int head_dim>
struct VisionBlock {
  static constexpr int warps = 4;
  static constexpr unsigned threads_max = warps * warp_lanes;
  using Arguments = VisionArguments<T>;
  using Tiles = AttentionTiles<T, head_dim, warps>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto cu_seqlens = context.global(given.cu_seqlens);
    const std::size_t sequence = context.block().z, head = context.block().y;
    const int start = cu_seqlens[sequence], length = cu_seqlens[sequence + 1] - start;
    const int first_patch = static_cast<int>(context.block().x) * Tiles::rows;
    if (first_patch >= length) return;
    const auto row_start = [&](int patch) {
      return (static_cast<std::size_t>(start + patch) * static_cast<std::size_t>(given.heads) + head) *
             head_dim;
    };
    const auto query_at = [&](int row) {
      const bool valid = first_patch + row < length;
      return GlobalRow{valid ? row_start(first_patch + row) : 0, valid};
    };
    const int own = first_patch + context.warp() * tile_rows;
    const int rows[2] = {own + context.lane() / 4, own + context.lane() / 4 + 8};
    AttentionRange range;
    range.begin = 0;
    range.end = length;
    for (int r = 0; r < 2; ++r) range.limit[r] = rows[r] < length ? length : 0;
    range.warp_limit = own < length ? length : 0;
    range.scale_log2 = given.scale_log2;

    AttentionSums<head_dim> sums;
    attend<T, head_dim, warps>(context, context.global(given.q), context.global(given.k),
                               context.global(given.v), query_at, row_start, range, sums);

    const auto out = context.global(given.out);
    DROUGHT_UNROLL
    for (int t = 0; t < head_dim / 8; ++t) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) {
        if (rows[e / 2] >= length) continue;
        const auto column = static_cast<std::size_t>(Fragment<head_dim>::column(context.lane(), t, e));
        out[row_start(rows[e / 2]) + column] = from_float<T>(sums.normalized(t, e));
      }
    }
  }
};

using VisionVariants =
    Variants<VisionBlock<float, 64>, VisionBlock<float, 72>, VisionBlock<float, 80>, VisionBlock<float, 128>,
             VisionBlock<bf16, 64>, VisionBlock<bf16, 72>, VisionBlock<bf16, 80>, VisionBlock<bf16, 128>>;

class VisionAttention final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::vector<std::size_t> cu_seqlens = {0, 17, 17, 50};  ///< Where sequences begin, and the total.
    std::size_t heads = 2;
    std::size_t head_dim = 80;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type), key("cu_seqlens", &Shape::cu_seqlens),
                        key("heads", &Shape::heads), key("head_dim", &Shape::head_dim)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "vision_attention";
  static constexpr std::string_view summary = "attention of several images, each over itself, by cu_seqlens";

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit VisionAttention(const Shape& shape) : shape_(shape) {
    constexpr std::array<std::size_t, 4> head_dims{64, 72, 80, 128};
    require_heads(shape.type, shape.head_dim, head_dims, shape.heads, shape.heads);
    const auto& starts = shape.cu_seqlens;
    require(starts.size() >= 2 && starts.size() - 1 <= grid_rows_max,
            "cu_seqlens must name between 1 and " + std::to_string(grid_rows_max) + " sequences");
    require(starts.front() == 0, "cu_seqlens must begin with 0");
    for (std::size_t i = 1; i < starts.size(); ++i) {
      require(starts[i - 1] <= starts[i], "cu_seqlens goes down at " + std::to_string(i) + ", from " +
                                              std::to_string(starts[i - 1]) + " to " +
                                              std::to_string(starts[i]));
      longest_ = std::max(longest_, starts[i] - starts[i - 1]);
    }
    require(starts.back() > 0 && starts.back() <= tokens_max, "cu_seqlens must end between 1 and 2^30");
    row_bytes_ =
        checked_product("q", {starts.back(), shape.heads, shape.head_dim, element_bytes(shape.type)});
  }

  /// Shapes for tests: every type and head_dim over single, odd, empty and whole-tile sequences.
  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16"}) {
      for (const std::size_t head_dim : {64, 72, 80, 128}) {
        for (const auto& starts : std::vector<std::vector<std::size_t>>{
                 {0, 1}, {0, 17, 17, 50}, {0, 3, 68, 181}, {0, 0, 64, 192, 192}})
          made.push_back(
              {.type = type, .cu_seqlens = starts, .heads = 1 + made.size() % 3, .head_dim = head_dim});
      }
    }
    return made;
  }

  const Shape& shape() const { return shape_; }
  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "q", .bytes = row_bytes_},
            {.name = "k", .bytes = row_bytes_},
            {.name = "v", .bytes = row_bytes_},
            {.name = "cu_seqlens", .bytes = starts_bytes(), .payload = false},
            {.name = "out", .bytes = row_bytes_, .role = Part::Role::output}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> out) const override {
    if (index == 3) {
      fill_integers(std::vector<std::int32_t>(shape_.cu_seqlens.begin(), shape_.cu_seqlens.end()), out);
    } else {
      fill_normal(shape_.type, seed, index, out);
    }
  }

  /// The grid was made for the shape's longest sequence, so the input must be the shape's own.
  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
    const auto starts = integers(parts[3]);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      if (starts[i] >= 0 && static_cast<std::size_t>(starts[i]) == shape_.cu_seqlens[i]) continue;
      return "cu_seqlens[" + std::to_string(i) + "] is " + std::to_string(starts[i]) + ", the shape says " +
             std::to_string(shape_.cu_seqlens[i]);
    }
    return {};
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return with_variant<64, 72, 80, 128>(shape_.type, shape_.head_dim, [&](auto element, auto head_dim) {
      return launch_as<decltype(element), head_dim()>(device, stream, parts);
    });
  }

  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const std::vector<std::size_t> extents{s.cu_seqlens.back(), s.heads, s.head_dim};
    const HostTensor q(parts[0], s.type, extents), k(parts[1], s.type, extents), v(parts[2], s.type, extents);
    const HostTensor out(parts[4], s.type, extents);
    Judge judge(norm_limit(s.type));
    for (std::size_t h = 0; h < s.heads; ++h) {
      for (std::size_t i = 1; i < s.cu_seqlens.size(); ++i) {
        AttentionOracle oracle(s.head_dim, unit_roundoff(s.type));
        const std::size_t begin = s.cu_seqlens[i - 1], end = s.cu_seqlens[i];
        for (std::size_t j = begin; j < end; ++j) oracle.push(k.row({j, h}), v.row({j, h}));
        for (std::size_t j = begin; j < end; ++j) {
          const auto answer = oracle.ask(q.row({j, h}), end - begin);
          for (std::size_t d = 0; d < s.head_dim; ++d) {
            judge.take(out.at({j, h, d}), answer.out[d], answer.tolerance[d], [&] {
              return "out[" + std::to_string(j) + "][" + std::to_string(h) + "][" + std::to_string(d) + "]";
            });
          }
        }
      }
    }
    return judge.verdict();
  }

  double flops() const override {
    double pairs = 0;
    for (std::size_t i = 1; i < shape_.cu_seqlens.size(); ++i) {
      const auto length = static_cast<double>(shape_.cu_seqlens[i] - shape_.cu_seqlens[i - 1]);
      pairs += length * length;
    }
    return 4 * pairs * static_cast<double>(shape_.heads * shape_.head_dim);
  }

 private:
  std::size_t starts_bytes() const { return shape_.cu_seqlens.size() * sizeof(std::int32_t); }

  template <typename T, int head_dim>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    using Block = VisionBlock<T, head_dim>;
    const VisionArguments<T> arguments{.q = static_cast<const T*>(parts[0]),
                                       .k = static_cast<const T*>(parts[1]),
                                       .v = static_cast<const T*>(parts[2]),
                                       .cu_seqlens = static_cast<const std::int32_t*>(parts[3]),
                                       .out = static_cast<T*>(parts[4]),
                                       .heads = static_cast<int>(shape_.heads),
                                       .scale_log2 = scale_log2_of(head_dim)};
    const Operand operands[] = {{"q", parts[0], row_bytes_, Access::read},
                                {"k", parts[1], row_bytes_, Access::read},
                                {"v", parts[2], row_bytes_, Access::read},
                                {"cu_seqlens", parts[3], starts_bytes(), Access::read},
                                {"out", parts[4], row_bytes_, Access::write}};
    const Bodies bodies = bodies_of<VisionVariants, Block>();
    const auto blocks = (longest_ + Block::Tiles::rows - 1) / Block::Tiles::rows;
    return device.launch({.kernel = kernel_name,
                          .grid = {static_cast<unsigned>(blocks), static_cast<unsigned>(shape_.heads),
                                   static_cast<unsigned>(shape_.cu_seqlens.size() - 1)},
                          .block = {Block::threads_max},
                          .shared_bytes = Block::Tiles::bytes,
                          .stream = stream,
                          .operands = operands,
                          .arguments = &arguments,
                          .arguments_bytes = sizeof arguments,
                          .host = bodies.host,
                          .cuda = bodies.cuda});
  }

  Shape shape_;
  std::size_t longest_ = 0, row_bytes_ = 0;
};

}  // namespace drought
