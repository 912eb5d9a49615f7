// A linear layer: a matrix product through a library (OpenBLAS on the host, cuBLAS on a GPU), and the bias,
// where there is one, by a kernel of our own after it. A library's call is a launch like any other: it
// declares what it touches, its workspace included, so the ledger judges it, faults strike it, and what the
// library needs comes from the resource under test. The launch's geometry is the library's own business.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/needs_library.hpp"
#include "kernels/linear_arguments.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/rows.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct BiasArguments {
  const T* bias;  // [columns]
  T* out;         // [rows][columns]
  int columns;
};

template <typename T>
struct BiasBlock {
  static constexpr unsigned threads_max = row_threads;
  using Arguments = BiasArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto bias = context.global(given.bias);
    const auto out = context.global(given.out);
    const auto columns = static_cast<std::size_t>(given.columns);
    const std::size_t row = context.block().x * columns;
    for (auto i = static_cast<std::size_t>(context.thread()); i < columns; i += row_threads)
      out[row + i] = from_float<T>(to_float(out[row + i]) + to_float(bias[i]));
  }
};

using LinearTypes = Types<float, bf16>;
using LinearVariants = Variants<BiasBlock<float>, BiasBlock<bf16>>;

class Linear final : public Kernel, public NeedsLibrary {
 public:
  struct Shape {
    std::string type = "bf16";  ///< Of x and weight.
    std::string out_type;       ///< Empty: the same. "fp32" for logits.
    std::size_t rows = 5, columns = 24, depth = 40;
    bool bias = false;
    /// What cuBLAS documents for Hopper (cublasSetWorkspace: 32 MiB; 4 MiB for chips before it).
    std::size_t workspace_bytes = 32_MiB;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),
                        key("out_type", &Shape::out_type),
                        key("rows", &Shape::rows),
                        key("columns", &Shape::columns),
                        key("depth", &Shape::depth),
                        key("bias", &Shape::bias),
                        key("workspace_bytes", &Shape::workspace_bytes)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "linear";
  static constexpr std::string_view summary = "a matrix product by OpenBLAS or cuBLAS, and a bias";
  enum PartIndex : std::size_t { x, weight, bias, out, workspace };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Linear(const Shape& shape) : shape_(shape) {
    if (shape_.out_type.empty()) shape_.out_type = shape_.type;
    require_rows(shape.rows, shape.columns);
    require_rows(shape.rows, shape.depth);
    const std::size_t in = LinearTypes::bytes_of(shape_.type), made = LinearTypes::bytes_of(shape_.out_type);
    x_bytes_ = checked_product("x", {shape.rows, shape.depth, in});
    weight_bytes_ = checked_product("weight", {shape.columns, shape.depth, in});
    out_bytes_ = checked_product("out", {shape.rows, shape.columns, made});
  }

  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16"})
      for (const std::size_t depth : {1, 64, 129, 1000})
        for (const std::size_t columns : {1, 17, 128})
          made.push_back({.type = type,
                          .out_type = made.size() % 3 == 0 ? "fp32" : "",
                          .rows = std::size_t{1} + made.size() * 5 % 37,
                          .columns = columns,
                          .depth = depth,
                          .bias = made.size() % 2 == 0,
                          .workspace_bytes = 1_MiB});
    return made;
  }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    const std::size_t bias_bytes = shape_.bias ? shape_.columns * element_bytes(shape_.out_type) : 0;
    return {{.name = "x", .bytes = x_bytes_},
            {.name = "weight", .bytes = weight_bytes_},
            {.name = "bias", .bytes = bias_bytes},
            {.name = "out", .bytes = out_bytes_, .role = Part::Role::output},
            {.name = "workspace", .bytes = shape_.workspace_bytes, .role = Part::Role::workspace}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    fill_normal(index == bias ? shape_.out_type : shape_.type, seed, index, to);
  }

  void open_library(Lane lane) const override { lane == Lane::host ? open_openblas() : open_cublas(); }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    if (const Status wrong = check_parts(plan(), parts); wrong != Status::success) return wrong;
    const LinearArguments arguments{.x = parts[x],
                                    .weight = parts[weight],
                                    .out = parts[out],
                                    .workspace = parts[workspace],
                                    .workspace_bytes = shape_.workspace_bytes,
                                    .rows = static_cast<int>(shape_.rows),
                                    .columns = static_cast<int>(shape_.columns),
                                    .depth = static_cast<int>(shape_.depth),
                                    .narrow = shape_.type == NumberTraits<bf16>::name,
                                    .narrow_out = shape_.out_type == NumberTraits<bf16>::name};
    std::vector<Part> multiplied = plan();
    multiplied[bias].bytes = 0;
    const std::vector<Operand> operands = operands_of(multiplied, parts);
    const Status status = device.launch({.kernel = kernel_name,
                                         .stream = stream,
                                         .operands = operands,
                                         .arguments = &arguments,
                                         .arguments_bytes = sizeof arguments,
                                         .host = linear_on_host,
                                         .cuda = linear_on_cuda});
    if (status != Status::success || !shape_.bias) return status;
    return LinearTypes::visit(shape_.out_type,
                              [&]<typename T>(T) { return add_bias<T>(device, stream, parts); });
  }

  // A sum of n = depth products errs by (n + 2) e of the sum of their absolute values in any order; tensor
  // cores truncate, which at most doubles it. Then a rounding to the type, the bias, and another rounding.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const HostTensor left(parts[x], s.type, {s.rows, s.depth}),
        right(parts[weight], s.type, {s.columns, s.depth});
    const HostTensor got(parts[out], s.out_type, {s.rows, s.columns});
    const HostTensor added(parts[bias], s.out_type, {s.bias ? s.columns : 0});
    const double roundoff = unit_roundoff(s.out_type);
    Judge judge(norm_limit(s.out_type));
    for (std::size_t r = 0; r < s.rows; ++r) {
      for (std::size_t c = 0; c < s.columns; ++c) {
        const auto a = left.row({r}), b = right.row({c});
        double product = 0, absolute = 0;
        for (std::size_t i = 0; i < s.depth; ++i) {
          product += a[i] * b[i];
          absolute += std::abs(a[i] * b[i]);
        }
        const double expected = product + (s.bias ? added.at({c}) : 0);
        const double tolerance = 2 * static_cast<double>(s.depth + 2) * 0x1p-24 * absolute +
                                 roundoff * (std::abs(expected) + (s.bias ? std::abs(product) : 0));
        judge.take(got.at({r, c}), expected, tolerance, [&] { return place_text("out", r, c); });
      }
    }
    return judge.verdict();
  }

  double flops() const override {
    return 2 * static_cast<double>(shape_.rows) * static_cast<double>(shape_.columns * shape_.depth);
  }

 private:
  template <typename T>
  Status add_bias(Device& device, Stream stream, std::span<void* const> parts) const {
    const BiasArguments<T> arguments{.bias = static_cast<const T*>(parts[bias]),
                                     .out = static_cast<T*>(parts[out]),
                                     .columns = static_cast<int>(shape_.columns)};
    const Operand operands[] = {{"bias", parts[bias], shape_.columns * sizeof(T), Access::read},
                                {"out", parts[out], out_bytes_, Access::read_write}};
    return device.launch(
        launch_of<LinearVariants, BiasBlock<T>>(arguments, {.kernel = "linear_bias",
                                                            .grid = {static_cast<unsigned>(shape_.rows)},
                                                            .stream = stream,
                                                            .operands = operands}));
  }

  Shape shape_;
  std::size_t x_bytes_ = 0, weight_bytes_ = 0, out_bytes_ = 0;
};

}  // namespace drought
