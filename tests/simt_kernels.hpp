// How the tests of the kernel vocabulary launch their small kernels.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "harness/simt/config.hpp"
#include "harness/simt/host_launch.hpp"

namespace drought {

/// Threads run by number unless a test says otherwise.
class Simt : public testing::Test {
 protected:
  void SetUp() override { set_thread_order_seed(0); }
};

struct Words {
  const std::uint32_t* in;
  std::uint32_t* out;
};

/// What the kernels of this file have in common.
struct OnWords {
  using Arguments = Words;
  static constexpr unsigned threads_max = 128;
};

/// One launch with `in` and `out` declared, exactly.
template <typename Functor>
Status run(const std::vector<std::uint32_t>& in, std::vector<std::uint32_t>& out, unsigned threads = 64,
           std::size_t shared_bytes = 1024, unsigned blocks = 1) {
  const Words words{in.data(), out.data()};
  const Operand operands[] = {{"in", in.data(), in.size() * 4, Access::read},
                              {"out", out.data(), out.size() * 4, Access::write}};
  return host_body<Functor>({.kernel = "test_kernel",
                             .grid = {blocks},
                             .block = {threads},
                             .shared_bytes = shared_bytes,
                             .operands = operands,
                             .arguments = &words,
                             .arguments_bytes = sizeof words});
}

inline std::vector<std::uint32_t> numbers(std::size_t n) {
  std::vector<std::uint32_t> made(n);
  std::iota(made.begin(), made.end(), 100u);
  return made;
}

}  // namespace drought
