// Writes each row of a matrix into the slot of a pool that an index names: how new keys and values enter a
// paged cache (vLLM's slot mapping, LightLLM's destination indices). The slots of one launch differ, and rows
// that none of them names stay as they are. A block takes a row.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/rows.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct AppendArguments {
  const T* x;                 // [rows][width]
  const std::int32_t* slots;  // [rows]
  T* pool;                    // [slots of the pool][width]
  int width;
};

template <typename T>
struct AppendBlock {
  static constexpr unsigned threads_max = row_threads;
  using Arguments = AppendArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto x = context.global(given.x);
    const auto slots = context.global(given.slots);
    const auto pool = context.global(given.pool);
    const auto width = static_cast<std::size_t>(given.width);
    const std::size_t row = context.block().x;
    const std::size_t to = static_cast<std::size_t>(slots[row]) * width;
    for (auto i = static_cast<std::size_t>(context.thread()); i < width; i += row_threads)
      pool[to + i] = x[row * width + i];
  }
};

using AppendVariants = Variants<AppendBlock<float>, AppendBlock<bf16>>;

class AppendRows final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t rows = 5, width = 130;
    std::size_t pool_rows = 5;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type), key("rows", &Shape::rows), key("width", &Shape::width),
                        key("pool_rows", &Shape::pool_rows)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "append_rows";
  static constexpr std::string_view summary = "rows into the slots of a pool, exact";
  enum PartIndex : std::size_t { x, slots, out };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit AppendRows(const Shape& shape) : shape_(shape) {
    require_rows(shape.rows, shape.width);
    require(shape.pool_rows >= shape.rows, "pool_rows are fewer than rows");
    require(shape.pool_rows <= tokens_max, "pool_rows is more than 2^30");
    const std::size_t row_bytes =
        checked_product("a row", {shape.width, Types<float, bf16>::bytes_of(shape.type)});
    x_bytes_ = checked_product("x", {shape.rows, row_bytes});
    pool_bytes_ = checked_product("pool", {shape.pool_rows, row_bytes});
  }

  static std::vector<Shape> cases() {
    return {{"fp32", 1, 1, 1}, {"bf16", 7, 127, 7}, {"fp32", 2, 128, 2}, {"bf16", 3, 515, 3}};
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "x", .bytes = x_bytes_},
            {.name = "slots", .bytes = shape_.rows * sizeof(std::int32_t), .payload = false},
            {.name = "out", .bytes = pool_bytes_, .role = Part::Role::output}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    if (index != slots) return fill_normal(shape_.type, seed, index, to);
    std::vector<std::int32_t> drawn = permutation(shape_.pool_rows, seed);
    drawn.resize(shape_.rows);
    fill_integers(drawn, to);
  }

  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
    std::vector<std::int32_t> given = integers(parts[slots]);
    for (std::size_t i = 0; i < given.size(); ++i)
      if (given[i] < 0 || static_cast<std::size_t>(given[i]) >= shape_.pool_rows)
        return "slots[" + std::to_string(i) + "] is " + std::to_string(given[i]) + ", the pool has " +
               std::to_string(shape_.pool_rows) + " rows";
    std::ranges::sort(given);
    const auto twice = std::ranges::adjacent_find(given);
    return twice == given.end() ? std::string() : "slot " + std::to_string(*twice) + " is named twice";
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    if (const Status wrong = check_parts(plan(), parts); wrong != Status::success) return wrong;
    return shape_.type == NumberTraits<bf16>::name ? launch_as<bf16>(device, stream, parts)
                                                   : launch_as<float>(device, stream, parts);
  }

  /// Judges the rows that were written.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const HostTensor rows(parts[x], s.type, {s.rows, s.width});
    const HostTensor pool(parts[out], s.type, {s.pool_rows, s.width});
    const std::vector<std::int32_t> places = integers(parts[slots]);
    Judge judge(0);
    for (std::size_t r = 0; r < s.rows; ++r) {
      const auto place = static_cast<std::size_t>(places[r]);
      for (std::size_t i = 0; i < s.width; ++i)
        judge.take(pool.at({place, i}), rows.at({r, i}), 0, [&] { return place_text("out", place, i); });
    }
    return judge.verdict();
  }

  double flops() const override { return 0; }

 private:
  template <typename T>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    const AppendArguments<T> arguments{.x = static_cast<const T*>(parts[x]),
                                       .slots = static_cast<const std::int32_t*>(parts[slots]),
                                       .pool = static_cast<T*>(parts[out]),
                                       .width = static_cast<int>(shape_.width)};
    const std::vector<Operand> operands = operands_of(plan(), parts);
    const Bodies bodies = bodies_of<AppendVariants, AppendBlock<T>>();
    return device.launch({.kernel = kernel_name,
                          .grid = {static_cast<unsigned>(shape_.rows)},
                          .block = {row_threads},
                          .stream = stream,
                          .operands = operands,
                          .arguments = &arguments,
                          .arguments_bytes = sizeof arguments,
                          .host = bodies.host,
                          .cuda = bodies.cuda});
  }

  const Shape shape_;
  std::size_t x_bytes_ = 0, pool_bytes_ = 0;
};

}  // namespace drought
