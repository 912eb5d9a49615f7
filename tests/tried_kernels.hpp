// The shapes at which every kernel of the catalogue is tried with bad input, and which kernels are spared a
// class of it, and why.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/catalogue.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {

/// The shapes at which a kernel is tried, all of fp32; the first of a kernel's for what needs but one.
struct Tried {
  std::string_view kernel, shape;
};
inline constexpr Tried kTried[] = {
    {"prefill_attention", "type = 'fp32'\nqueries = 70\nprefix = 5\nheads = 2\nsinks = true"},
    {"prefill_attention", "type = 'fp32'\nqueries = 70\nwindow_left = 9\nheads = 2\nsoftcap = 5.0"},
    {"prefill_attention", "type = 'fp32'\ncu_seqlens_q = [0, 3, 20]\ncu_seqlens_k = [0, 9, 40]"},
    {"prefill_attention", "queries = 3"},
    {"decode_attention", "type = 'fp32'\nseqlens = [17, 33]\nsplits = 0\nparts = 3\nsinks = true"},
    {"decode_attention", "type = 'fp32'\nseqlens = [40, 5]\nsplits = 2\nwindow = 9\nsoftcap = 5.0"},
    {"decode_attention", "type = 'fp32'\nseqlens = [20, 3]\nhead_dim = 576\nvalue_dim = 512\nlatent = true"},
    {"decode_attention", "cache = 'int8'\nseqlens = [17, 3]\nsplits = 0\nparts = 2"},
    {"vision_attention", "type = 'fp32'\ncu_seqlens = [0, 17, 50]\nhead_dim = 72"},
    {"reference_attention", "type = 'fp32'\ncu_seqlens_q = [0, 3, 20]\ncu_seqlens_k = [0, 9, 40]"},
    {"patch_embedding", "type = 'fp32'\npatch = 5\nbias = true"},
    {"patch_merger", "type = 'fp32'"},
    {"patch_merger", "type = 'fp32'\nnorm = 'none'"},
    {"rope", "type = 'fp32'\npositions = 'vision'"},
    {"kv_append", "type = 'fp32'"},
    {"kv_append", "cache = 'int8'"},
    {"linear", "type = 'fp32'\nbias = true"},
    {"norm", "type = 'fp32'\nkind = 'layer'"},
    {"norm", "type = 'fp32'\nresidual = false"},
    {"gated_activation", "type = 'fp32'"},
    {"gated_activation", "type = 'fp32'\nfunction = 'gelu_tanh'\ngated = false"},
    {"embedding", "type = 'fp32'"},
    {"kv_append", "type = 'fp32'\nvalues = false"},
    {"add_rows", "type = 'fp32'"},
    {"sampling", ""},
    {"shared_object", ""},
    {"checksum", ""},
};

/// Why a class of bad input does not exist for a kernel.
struct Spared {
  std::string_view kernel, badness, why;
};
inline constexpr Spared kSpared[] = {
    {"patch_embedding", "content", "it has no integers among its inputs"},
    {"patch_merger", "content", "it has no integers among its inputs"},
    {"linear", "content", "it has no integers among its inputs"},
    {"norm", "content", "it has no integers among its inputs"},
    {"gated_activation", "content", "it has no integers among its inputs"},
    {"sampling", "content", "its draws are floats, and one outside [0, 1) gives the token -1"},
    {"shared_object", "content", "the example has no integers; a user's library answers for its own"},
    {"checksum", "content", "any word is summed"},
    {"checksum", "not_finite", "it reads bits, not numbers"},
};

inline std::unique_ptr<Kernel> made(const Tried& tried) {
  return find_entry(kernel_catalogue(), tried.kernel)
      ->make(parse_toml(std::string(tried.shape), "shape.toml"));
}

class TriedKernel : public testing::TestWithParam<KernelEntry> {
 protected:
  void SetUp() override {
    const std::string missing = missing_library(*GetParam().make(Table()), Lane::host);
    if (!missing.empty()) GTEST_SKIP() << missing;
  }

  /// Asks about every shape that the kernel is tried at. `ask` answers how much there was to ask; nothing at
  /// all is for those alone that are spared, with a reason.
  template <typename Ask>
  void ask_all(std::string_view badness, Ask ask) {
    std::size_t asked = 0, shapes = 0;
    for (const Tried& tried : kTried) {
      if (tried.kernel != GetParam().name) continue;
      SCOPED_TRACE(std::string(tried.kernel) + ": " + std::string(tried.shape));
      asked += ask(*made(tried), tried);
      ++shapes;
    }
    const bool spared = std::ranges::any_of(
        kSpared, [&](const Spared& of) { return of.kernel == GetParam().name && of.badness == badness; });
    EXPECT_NE(shapes, 0u) << GetParam().name << " is tried at no shape";
    EXPECT_EQ(asked == 0, spared) << GetParam().name << " was asked " << asked << " times about " << badness;
  }
};

}  // namespace drought
