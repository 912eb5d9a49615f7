// Gathers a row of a table for each index: the first step of a language model. An index that the table does
// not have reads memory of somebody else (a negative token id did so in LightLLM, commit ac39bfc13), so
// indices are checked where the host knows them, and by the kernel where it does not: a sampler leaves its
// tokens on the device. A block takes a row.
#pragma once

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
struct EmbeddingArguments {
  const std::int32_t* indices;  // [rows]
  const T* table;               // [entries][width]
  T* out;                       // [rows][width]
  int entries, width;
};

template <typename T>
struct EmbeddingBlock {
  static constexpr unsigned threads_max = row_threads;
  using Arguments = EmbeddingArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto indices = context.global(given.indices);
    const auto table = context.global(given.table);
    const auto out = context.global(given.out);
    const auto width = static_cast<std::size_t>(given.width);
    const std::size_t row = context.block().x;
    const std::int32_t index = indices[row];
    context.require(index >= 0 && index < given.entries);
    const std::size_t from = static_cast<std::size_t>(index) * width;
    for (auto i = static_cast<std::size_t>(context.thread()); i < width; i += row_threads)
      out[row * width + i] = table[from + i];
  }
};

using EmbeddingVariants = Variants<EmbeddingBlock<float>, EmbeddingBlock<bf16>, EmbeddingBlock<fp16>>;

class Embedding final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t rows = 5, entries = 11, width = 130;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type), key("rows", &Shape::rows), key("entries", &Shape::entries),
                        key("width", &Shape::width)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "embedding";
  static constexpr std::string_view summary = "a row of a table for each index, exact";
  enum PartIndex : std::size_t { indices, table, out };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Embedding(const Shape& shape) : shape_(shape) {
    require_rows(shape.rows, shape.width);
    require(shape.entries > 0 && shape.entries <= tokens_max, "entries must be between 1 and 2^30");
    const std::size_t element = element_bytes(shape.type);
    table_bytes_ = checked_product("table", {shape.entries, shape.width, element});
    out_bytes_ = checked_product("out", {shape.rows, shape.width, element});
  }

  static std::vector<Shape> cases() {
    return {{"fp32", 1, 1, 1},
            {"bf16", 7, 3, 127},
            {"fp32", 2, 50, 128},
            {"bf16", 3, 50, 515},
            {"fp16", 4, 9, 77}};
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "indices", .bytes = shape_.rows * sizeof(std::int32_t), .payload = false},
            {.name = "table", .bytes = table_bytes_},
            {.name = "out", .bytes = out_bytes_, .role = Part::Role::output}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    if (index != indices) return fill_normal(shape_.type, seed, index, to);
    Random random(seed);
    std::vector<std::int32_t> drawn(shape_.rows);
    for (std::int32_t& place : drawn) place = static_cast<std::int32_t>(random.below(shape_.entries));
    fill_integers(drawn, to);
  }

  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
    const auto given = integers(parts[indices]);
    for (std::size_t i = 0; i < given.size(); ++i)
      if (given[i] < 0 || static_cast<std::size_t>(given[i]) >= shape_.entries)
        return "indices[" + std::to_string(i) + "] is " + std::to_string(given[i]) + ", the table has " +
               std::to_string(shape_.entries) + " entries";
    return {};
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return FloatTypes::visit(shape_.type, [&]<typename T>(T) {
      const EmbeddingArguments<T> arguments{.indices = static_cast<const std::int32_t*>(parts[indices]),
                                            .table = static_cast<const T*>(parts[table]),
                                            .out = static_cast<T*>(parts[out]),
                                            .entries = static_cast<int>(shape_.entries),
                                            .width = static_cast<int>(shape_.width)};
      return launch_parts<EmbeddingVariants, EmbeddingBlock<T>>(
          device, plan(), parts, arguments,
          {.kernel = kernel_name, .grid = {static_cast<unsigned>(shape_.rows)}, .stream = stream});
    });
  }

  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const HostTensor rows(parts[table], s.type, {s.entries, s.width}),
        got(parts[out], s.type, {s.rows, s.width});
    const std::vector<std::int32_t> places = integers(parts[indices]);
    Judge judge(0);
    for (std::size_t r = 0; r < s.rows; ++r)
      for (std::size_t i = 0; i < s.width; ++i)
        judge.take(got.at({r, i}), rows.at({static_cast<std::size_t>(places[r]), i}), 0,
                   [&] { return place_text("out", r, i); });
    return judge.verdict();
  }

  double flops() const override { return 0; }

 private:
  const Shape shape_;
  std::size_t table_bytes_ = 0, out_bytes_ = 0;
};

}  // namespace drought
