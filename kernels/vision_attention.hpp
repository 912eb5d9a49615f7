// Attention of a vision encoder: several images or windows in one tensor, each a sequence that sees itself
// alone, not causal, with the head sizes that vision models have (72: SigLIP, Qwen3-VL; 80: Qwen2.5-VL).
// cu_seqlens says where the sequences begin; one may be empty. It is prefill attention of sequences packed
// alike in queries and keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/shape.hpp"

namespace drought {

class VisionAttention final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::vector<std::size_t> cu_seqlens = {0, 17, 17, 50};  ///< Where sequences begin, and the total.
    std::size_t heads = 2;
    std::size_t head_dim = 80;
    std::string body = "best";  ///< As in PrefillAttention.
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type), key("cu_seqlens", &Shape::cu_seqlens),
                        key("heads", &Shape::heads), key("head_dim", &Shape::head_dim),
                        key("body", &Shape::body)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "vision_attention";
  static constexpr std::string_view summary = "attention of several images, each over itself, by cu_seqlens";
  enum PartIndex : std::size_t { q, k, v, cu_seqlens, out, next_tile, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit VisionAttention(const Shape& shape) : shape_(shape), prefill_(prefill_of(shape)) {}

  /// Shapes for tests: every type and head_dim over single, odd, empty and whole-tile sequences.
  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16", "fp16"}) {
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
    const std::vector<Part> of = prefill_.plan();
    std::vector<Part> parts(part_count);
    for (std::size_t i = 0; i < part_count; ++i) parts[i] = of[in_prefill[i]];
    parts[cu_seqlens].name = "cu_seqlens";
    return parts;
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    prefill_.fill(in_prefill[index], seed, to);
  }

  /// The grid was made for the shape's longest sequence, so the input must be the shape's own.
  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
    const auto starts = integers(parts[cu_seqlens]);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      if (starts[i] >= 0 && static_cast<std::size_t>(starts[i]) == shape_.cu_seqlens[i]) continue;
      return "cu_seqlens[" + std::to_string(i) + "] is " + std::to_string(starts[i]) + ", the shape says " +
             std::to_string(shape_.cu_seqlens[i]);
    }
    return {};
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    std::array<void*, PrefillAttention::part_count> given{};
    for (std::size_t i = 0; i < part_count; ++i) given[in_prefill[i]] = parts[i];
    given[PrefillAttention::cu_seqlens_k] = parts[cu_seqlens];
    return prefill_.launch_as(kernel_name, device, stream, given);
  }

  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    std::array<std::span<const std::byte>, PrefillAttention::part_count> given{};
    for (std::size_t i = 0; i < part_count; ++i) given[in_prefill[i]] = parts[i];
    given[PrefillAttention::cu_seqlens_k] = parts[cu_seqlens];
    return prefill_.compare(given);
  }

  double flops() const override { return prefill_.flops(); }

 private:
  static constexpr std::array<std::size_t, part_count> in_prefill{
      PrefillAttention::q,   PrefillAttention::k,        PrefillAttention::v, PrefillAttention::cu_seqlens_q,
      PrefillAttention::out, PrefillAttention::next_tile};

  static PrefillAttention::Shape prefill_of(const Shape& shape) {
    constexpr std::array<std::size_t, 4> head_dims{64, 72, 80, 128};
    require_heads(shape.type, shape.head_dim, head_dims, shape.heads, shape.heads);
    require(longest_sequence("cu_seqlens", shape.cu_seqlens) > 0, "cu_seqlens must end above 0");
    return {.type = shape.type,
            .cu_seqlens_q = shape.cu_seqlens,
            .cu_seqlens_k = shape.cu_seqlens,
            .heads = shape.heads,
            .kv_heads = shape.heads,
            .head_dim = shape.head_dim,
            .causal = false,
            .body = shape.body};
  }

  Shape shape_;
  PrefillAttention prefill_;
};

}  // namespace drought
