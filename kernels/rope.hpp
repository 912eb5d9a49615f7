// Rotary position embedding (Su et al. 2021): pairs of elements of each head are turned by an angle that is
// the token's position times a frequency. One kernel for all its kinds, which differ in what a position is:
//   text                one position a token;
//   m-rope              three, time, height and width, the pairs dealt out to them in sections one after the
//                       other (Qwen2-VL and Qwen2.5-VL: 16, 24, 24);
//   interleaved-m-rope  the same, dealt out in turn, time, height, width, time … until height's and width's
//                       are used up, and the rest are of time (Qwen3-VL: 24, 20, 20);
//   vision              two, height and width, each with half of the pairs and its own run of frequencies
//                       (Qwen2.5-VL's encoder).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"

namespace drought {

class Rope final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t tokens = 33, heads = 4, head_dim = 64;
    std::size_t rotary_dim = 0;  ///< Elements of a head that are turned, the first ones; 0: all.
    std::string positions = "text";
    /// Pairs of each axis; given for the two kinds of m-rope only.
    std::vector<std::size_t> sections = {};
    double base = 10000;
    /// A pair is (2 i, 2 i + 1), as GPT-J has it, in place of (i, i + rotary_dim / 2), as GPT-NeoX.
    bool interleaved = false;
    /// How frequencies are stretched for more tokens than a model was trained with: "none"; "linear", all
    /// divided by `factor`; "llama3" (Llama 3.1), those that turn less than `low_factor` times in
    /// `trained_tokens`, with a smooth passage to those that turn more than `high_factor` times and stay.
    std::string scaling = "none";
    double factor = 1, low_factor = 1, high_factor = 4;
    std::size_t trained_tokens = 8192;
    std::size_t pairs() const { return (rotary_dim == 0 ? head_dim : rotary_dim) / 2; }
    std::size_t axis_count() const {
      return positions == "text" ? 1 : positions == "vision" ? 2 : sections.size();
    }
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),
                        key("tokens", &Shape::tokens),
                        key("heads", &Shape::heads),
                        key("head_dim", &Shape::head_dim),
                        key("rotary_dim", &Shape::rotary_dim),
                        key("positions", &Shape::positions),
                        key("sections", &Shape::sections),
                        key("base", &Shape::base),
                        key("interleaved", &Shape::interleaved),
                        key("scaling", &Shape::scaling),
                        key("factor", &Shape::factor),
                        key("low_factor", &Shape::low_factor),
                        key("high_factor", &Shape::high_factor),
                        key("trained_tokens", &Shape::trained_tokens)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "rope";
  static constexpr std::string_view summary = "rotary position embedding: text, m-rope or vision positions";
  enum PartIndex : std::size_t { x, positions, frequencies, axes, out, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Rope(const Shape& shape);

  /// The axis that each pair turns by. Throws as the constructor does.
  static std::vector<std::int32_t> axes_of(const Shape& shape);

  /// Shapes for tests: every kind of positions and type at the head sizes that models have them with.
  static std::vector<Shape> cases();

  std::string_view name() const override { return kernel_name; }
  std::vector<Part> plan() const override;
  /// Positions up to 2^15; frequencies and axes are what the shape makes them.
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override;
  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override;
  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override;
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override;
  /// Four products and two sums for each pair.
  double flops() const override;

 private:
  /// By which a pair's position is multiplied.
  double frequency(std::size_t pair) const;
  double scaled(double frequency) const;
  template <typename T>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const;

  const Shape shape_;
  const std::size_t axis_count_;
  const std::vector<std::int32_t> axis_of_pair_;
  std::array<std::size_t, part_count> bytes_{};
};

}  // namespace drought
