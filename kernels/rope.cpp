#include "kernels/rope.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "harness/sched/random.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/rope_block.hpp"
#include "kernels/shape.hpp"

namespace drought {

Rope::Rope(const Shape& shape)
    : shape_(shape), axis_count_(shape.axis_count()), axis_of_pair_(axes_of(shape)) {
  bytes_[x] = bytes_[out] =
      checked_product("x of rope", {shape.tokens, shape.heads, shape.head_dim, element_bytes(shape.type)});
  bytes_[positions] = checked_product("positions", {axis_count_, shape.tokens, sizeof(std::int32_t)});
  bytes_[frequencies] = shape.pairs() * sizeof(float);
  bytes_[axes] = shape.pairs() * sizeof(std::int32_t);
}

std::vector<Rope::Shape> Rope::cases() {
  std::vector<Shape> made;
  for (const char* const type : {"fp32", "bf16", "fp16"}) {
    made.push_back({.type = type, .tokens = 1, .heads = 1});
    made.push_back({.type = type, .tokens = 7, .heads = 9, .head_dim = 128, .base = 1e6});
    made.push_back({.type = type, .tokens = 5, .head_dim = 96, .rotary_dim = 24});
    made.push_back({.type = type, .tokens = 4, .head_dim = 64, .rotary_dim = 32, .interleaved = true});
    Shape by_axes{.type = type, .tokens = 6, .head_dim = 128, .positions = "m-rope", .base = 1e6};
    by_axes.sections = {16, 24, 24};
    made.push_back(by_axes);
    by_axes.positions = "interleaved-m-rope";
    by_axes.sections = {24, 20, 20};
    made.push_back(by_axes);
    made.push_back({.type = type,
                    .tokens = 5,
                    .head_dim = 256,
                    .rotary_dim = 64,
                    .positions = "interleaved-m-rope",
                    .sections = {11, 11, 10},
                    .base = 1e7});
    Shape stretched{.type = type, .tokens = 4, .head_dim = 128, .base = 5e5};
    stretched.scaling = "llama3";
    stretched.factor = 8;
    made.push_back(stretched);
    stretched.scaling = "linear";
    made.push_back(stretched);
    for (const std::size_t head_dim : {72, 80})
      made.push_back({.type = type, .tokens = 3, .heads = 16, .head_dim = head_dim, .positions = "vision"});
  }
  return made;
}

std::vector<Part> Rope::plan() const {
  return {{.name = "x", .bytes = bytes_[x]},
          {.name = "positions", .bytes = bytes_[positions], .payload = false},
          {.name = "frequencies", .bytes = bytes_[frequencies]},
          {.name = "axes", .bytes = bytes_[axes], .payload = false},
          {.name = "out", .bytes = bytes_[out], .role = Part::Role::output}};
}

void Rope::fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const {
  if (index == x) return fill_normal(shape_.type, seed, index, to);
  if (index == axes) return fill_integers(axis_of_pair_, to);
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

std::string Rope::wrong_inputs(std::span<const std::span<const std::byte>> parts) const {
  const auto of = integers(parts[axes]);
  for (std::size_t i = 0; i < of.size(); ++i)
    if (of[i] != axis_of_pair_[i])
      return "axes[" + std::to_string(i) + "] is " + std::to_string(of[i]) + ", the shape says " +
             std::to_string(axis_of_pair_[i]);
  const auto at = integers(parts[positions]);
  for (std::size_t i = 0; i < at.size(); ++i)
    if (at[i] < 0 || at[i] >= 1 << 24)  // Where floats, of which angles are made, skip integers.
      return "positions[" + std::to_string(i / shape_.tokens) + "][" + std::to_string(i % shape_.tokens) +
             "] is " + std::to_string(at[i]);
  return {};
}

Status Rope::launch(Device& device, Stream stream, std::span<void* const> parts) const {
  if (const Status wrong = check_parts(plan(), parts); wrong != Status::success) return wrong;
  return FloatTypes::visit(shape_.type, [&]<typename T>(T) { return launch_as<T>(device, stream, parts); });
}

// With e = 2^-24: the frequency and its product with the position are rounded, so the angle errs by 2 e of
// itself; sine and cosine err by 4 e beside that (2 ulp by the CUDA programming guide), the two products and
// their sum by 3 e of |a| + |b|; then the result is rounded to the type.
Comparison Rope::compare(std::span<const std::span<const std::byte>> parts) const {
  constexpr double e = 0x1p-24;
  const Shape& s = shape_;
  const double step = s.type == NumberTraits<fp16>::name ? 0x1p-25 : 0;
  const HostTensor from(parts[x], s.type, {s.tokens, s.heads, s.head_dim});
  const HostTensor got(parts[out], s.type, {s.tokens, s.heads, s.head_dim});
  const HostTensor at(parts[positions], "int32", {axis_count_, s.tokens});
  Judge judge(norm_limit(s.type) * 64);  // Angles err by their size, so the norm says little here.
  for (std::size_t t = 0; t < s.tokens; ++t) {
    for (std::size_t h = 0; h < s.heads; ++h) {
      const auto say = [&](std::size_t d) {
        return "out[" + std::to_string(t) + "][" + std::to_string(h) + "][" + std::to_string(d) + "]";
      };
      for (std::size_t d = 2 * shape_.pairs(); d < s.head_dim; ++d)
        judge.take(got.at({t, h, d}), from.at({t, h, d}), 0, [&] { return say(d); });
      for (std::size_t pair = 0; pair < shape_.pairs(); ++pair) {
        const auto axis = static_cast<std::size_t>(axis_of_pair_[pair]);
        const std::size_t left = s.interleaved ? 2 * pair : pair;
        const std::size_t right = s.interleaved ? left + 1 : pair + shape_.pairs();
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
  return judge.verdict();
}

double Rope::flops() const {
  return static_cast<double>(shape_.tokens * shape_.heads) * 6 * static_cast<double>(shape_.pairs());
}

/// base^(-i / n), stretched, where n is all pairs, or for vision positions those of an axis.
double Rope::frequency(std::size_t pair) const {
  const std::size_t run = shape_.positions == "vision" ? shape_.pairs() / 2 : shape_.pairs();
  return scaled(std::pow(shape_.base, -static_cast<double>(pair % run) / static_cast<double>(run)));
}

double Rope::scaled(double frequency) const {
  const Shape& s = shape_;
  if (s.scaling == "none") return frequency;
  if (s.scaling == "linear") return frequency / s.factor;
  const double turns = static_cast<double>(s.trained_tokens) * frequency / (2 * std::numbers::pi);
  const double kept = std::clamp((turns - s.low_factor) / (s.high_factor - s.low_factor), 0.0, 1.0);
  return frequency * (kept + (1 - kept) / s.factor);
}

template <typename T>
Status Rope::launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
  const RopeArguments<T> arguments{.x = static_cast<const T*>(parts[x]),
                                   .positions = static_cast<const std::int32_t*>(parts[positions]),
                                   .frequencies = static_cast<const float*>(parts[frequencies]),
                                   .axes = static_cast<const std::int32_t*>(parts[axes]),
                                   .out = static_cast<T*>(parts[out]),
                                   .tokens = static_cast<int>(shape_.tokens),
                                   .heads = static_cast<int>(shape_.heads),
                                   .head_dim = static_cast<int>(shape_.head_dim),
                                   .pairs = static_cast<int>(shape_.pairs()),
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
                        .shared_bytes = 2 * shape_.pairs() * sizeof(float),
                        .stream = stream,
                        .operands = operands,
                        .arguments = &arguments,
                        .arguments_bytes = sizeof arguments,
                        .host = bodies.host,
                        .cuda = bodies.cuda});
}

}  // namespace drought
