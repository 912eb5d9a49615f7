// Adds to each row of a matrix the row of another that an index names, or nothing: how the features of a
// vision tower's middle layers come to the tokens of an image (Qwen3-VL's DeepStack). A block takes a row.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/sched/random.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/rows.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct AddRowsArguments {
  const T* x;                   // [rows][width]
  const T* added;               // [entries][width]
  const std::int32_t* indices;  // [rows], -1: nothing is added.
  T* out;                       // [rows][width]
  int entries, width;
};

template <typename T>
struct AddRowsBlock {
  static constexpr unsigned threads_max = row_threads;
  using Arguments = AddRowsArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto x = context.global(given.x), added = context.global(given.added);
    const auto indices = context.global(given.indices);
    const auto out = context.global(given.out);
    const auto width = static_cast<std::size_t>(given.width);
    const std::size_t row = context.block().x;
    const std::int32_t index = indices[row];
    context.require(index < given.entries);
    for (auto i = static_cast<std::size_t>(context.thread()); i < width; i += row_threads) {
      const T own = x[row * width + i];
      out[row * width + i] =
          index < 0
              ? own
              : from_float<T>(to_float(own) + to_float(added[static_cast<std::size_t>(index) * width + i]));
    }
  }
};

using AddRowsVariants = Variants<AddRowsBlock<float>, AddRowsBlock<bf16>, AddRowsBlock<fp16>>;

class AddRows final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t rows = 5, entries = 3, width = 130;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type), key("rows", &Shape::rows), key("entries", &Shape::entries),
                        key("width", &Shape::width)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "add_rows";
  static constexpr std::string_view summary = "to each row that of another matrix which an index names";
  enum PartIndex : std::size_t { x, added, indices, out };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit AddRows(const Shape& shape) : shape_(shape) {
    require_rows(shape.rows, shape.width);
    require(shape.entries > 0 && shape.entries <= tokens_max, "entries must be between 1 and 2^30");
    const std::size_t row_bytes = checked_product("a row", {shape.width, element_bytes(shape.type)});
    x_bytes_ = checked_product("x", {shape.rows, row_bytes});
    added_bytes_ = checked_product("added", {shape.entries, row_bytes});
  }

  static std::vector<Shape> cases() {
    return {{"fp32", 1, 1, 1},
            {"bf16", 7, 3, 127},
            {"fp32", 2, 50, 128},
            {"bf16", 9, 50, 515},
            {"fp16", 4, 2, 64}};
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "x", .bytes = x_bytes_},
            {.name = "added", .bytes = added_bytes_},
            {.name = "indices", .bytes = shape_.rows * sizeof(std::int32_t), .payload = false},
            {.name = "out", .bytes = x_bytes_, .role = Part::Role::output}};
  }

  /// A third of the rows, as drawn, get nothing.
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    if (index != indices) return fill_normal(shape_.type, seed, index, to);
    Random random(seed);
    std::vector<std::int32_t> drawn(shape_.rows);
    for (std::int32_t& place : drawn)
      place = random.below(3) == 0 ? -1 : static_cast<std::int32_t>(random.below(shape_.entries));
    fill_integers(drawn, to);
  }

  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
    const auto given = integers(parts[indices]);
    for (std::size_t i = 0; i < given.size(); ++i)
      if (given[i] < -1 || given[i] >= static_cast<std::int64_t>(shape_.entries))
        return "indices[" + std::to_string(i) + "] is " + std::to_string(given[i]) + ", there are " +
               std::to_string(shape_.entries) + " rows to add";
    return {};
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return FloatTypes::visit(shape_.type, [&]<typename T>(T) {
      const AddRowsArguments<T> arguments{.x = static_cast<const T*>(parts[x]),
                                          .added = static_cast<const T*>(parts[added]),
                                          .indices = static_cast<const std::int32_t*>(parts[indices]),
                                          .out = static_cast<T*>(parts[out]),
                                          .entries = static_cast<int>(shape_.entries),
                                          .width = static_cast<int>(shape_.width)};
      return launch_parts<AddRowsVariants, AddRowsBlock<T>>(
          device, plan(), parts, arguments,
          {.kernel = kernel_name, .grid = {static_cast<unsigned>(shape_.rows)}, .stream = stream});
    });
  }

  /// A sum in fp32, and its rounding to the type; a row that gets nothing stays as it is, bit for bit.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const HostTensor rows(parts[x], s.type, {s.rows, s.width}), got(parts[out], s.type, {s.rows, s.width});
    const HostTensor more(parts[added], s.type, {s.entries, s.width});
    const std::vector<std::int32_t> places = integers(parts[indices]);
    const double roundings = unit_roundoff(s.type) + (s.type == NumberTraits<float>::name ? 0 : 0x1p-24);
    Judge judge(norm_limit(s.type));
    for (std::size_t r = 0; r < s.rows; ++r)
      for (std::size_t i = 0; i < s.width; ++i) {
        const bool gets = places[r] >= 0;
        const double expected =
            rows.at({r, i}) + (gets ? more.at({static_cast<std::size_t>(places[r]), i}) : 0);
        judge.take(got.at({r, i}), expected, gets ? roundings * std::abs(expected) : 0,
                   [&] { return place_text("out", r, i); });
      }
    return judge.verdict();
  }

  double flops() const override { return static_cast<double>(shape_.rows * shape_.width); }

 private:
  const Shape shape_;
  std::size_t x_bytes_ = 0, added_bytes_ = 0;
};

}  // namespace drought
