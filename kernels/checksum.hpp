// Sums the 32-bit words of a range, modulo 2^32, one partial sum a thread. The smallest kernel that reads
// every byte it is given: it verifies patterns (a canary, a poisoned cache) where they lie, and with an
// undeclared launch it is what a stray read looks like to the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/sched/random.hpp"
#include "harness/simt/config.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/parts.hpp"
#include "kernels/shape.hpp"

namespace drought {

struct ChecksumArguments {
  const std::uint32_t* data;  // [words]
  std::uint32_t* sums;        // [threads]
  std::size_t words;
};

struct ChecksumBlock {
  static constexpr unsigned threads_max = 128;
  using Arguments = ChecksumArguments;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto data = context.global(given.data);
    const auto sums = context.global(given.sums);
    const auto thread = static_cast<std::size_t>(context.thread());
    std::uint32_t sum = 0;
    for (std::size_t i = thread; i < given.words; i += threads_max) sum += data[i];
    sums[thread] = sum;
  }
};

using ChecksumVariants = Variants<ChecksumBlock>;

class Checksum final : public Kernel {
 public:
  struct Shape {
    std::size_t words = 1000;
    static constexpr auto keys() { return std::tuple{key("words", &Shape::words)}; }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "checksum";
  static constexpr std::string_view summary = "sums of the words of a range, exact";

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit Checksum(const Shape& shape) : shape_(shape) {
    require(shape.words > 0, "words must be above 0");
    data_bytes_ = checked_product("data", {shape.words, sizeof(std::uint32_t)});
  }

  static std::vector<Shape> cases() { return {{1}, {127}, {128}, {129}, {1000}, {4097}}; }

  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "data", .bytes = data_bytes_, .payload = false},
            {.name = "out", .bytes = sums_bytes, .role = Part::Role::output}};
  }

  void fill(std::size_t, std::uint64_t seed, std::span<std::byte> out) const override {
    Random random(seed);
    for (std::byte& byte : out) byte = static_cast<std::byte>(random() >> 56);
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return launch_over(device, stream, parts, true);
  }

  /// `declared` false: the ledger does not look, so the device itself meets whatever the pointers are.
  Status launch_over(Device& device, Stream stream, std::span<void* const> parts, bool declared) const {
    const ChecksumArguments arguments{static_cast<const std::uint32_t*>(parts[0]),
                                      static_cast<std::uint32_t*>(parts[1]), shape_.words};
    return launch_parts<ChecksumVariants, ChecksumBlock>(
        device, plan(), parts, arguments, {.kernel = kernel_name, .stream = stream, .declared = declared});
  }

  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    std::uint32_t wanted = 0, came = 0;
    for (std::size_t at = 0; at < parts[0].size(); at += sizeof wanted) wanted += word(parts[0], at);
    for (std::size_t at = 0; at < parts[1].size(); at += sizeof came) came += word(parts[1], at);
    const bool same = came == wanted;
    return {same, same ? 0.0 : 1.0, 0,
            "the sums come to " + std::to_string(came) + ", the words to " + std::to_string(wanted)};
  }

  double flops() const override { return 0; }

 private:
  static constexpr std::size_t sums_bytes = ChecksumBlock::threads_max * sizeof(std::uint32_t);

  static std::uint32_t word(std::span<const std::byte> bytes, std::size_t at) {
    std::uint32_t read = 0;
    for (std::size_t i = 0; i < sizeof read; ++i)
      read |= static_cast<std::uint32_t>(bytes[at + i]) << (8 * i);
    return read;
  }

  const Shape shape_;
  std::size_t data_bytes_ = 0;
};

}  // namespace drought
