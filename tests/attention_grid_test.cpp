// Attention on the host lane over the grid of head sizes, lengths, groups of heads, page sizes and types that
// servers meet, against the float64 oracle: up to 4096 tokens, where their square allows it. The lengths are
// those of FlashAttention's tests: on either side of a tile's end, and more queries than keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "harness/sched/sanitizers.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/decode_variants.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {

namespace {

struct GridPoint {
  std::string text;
  std::shared_ptr<const Kernel> kernel;
};

void PrintTo(const GridPoint& point, std::ostream* out) { *out << point.text; }

template <typename Listed>
GridPoint point_of(const typename Listed::Shape& shape, const std::string& rest) {
  return {shape.type + " D" + std::to_string(shape.head_dim) + ", " + std::to_string(shape.heads) +
              " heads, " + rest,
          std::make_shared<Listed>(shape)};
}

constexpr const char* kTypes[] = {"fp32", "bf16", "fp16"};

struct Heads {
  std::size_t all, kv;
};

/// Each its own, and groups that fill a tile of rows in part, in full and beyond.
constexpr Heads kHeads[] = {{2, 2}, {4, 1}, {7, 1}, {16, 1}, {20, 1}};

/// Sequences of as many queries over as many keys, packed.
struct Sequences {
  std::vector<std::size_t> queries, keys;
};

std::vector<std::size_t> starts_of(const std::vector<std::size_t>& lengths) {
  std::vector<std::size_t> starts{0};
  for (const std::size_t length : lengths) starts.push_back(starts.back() + length);
  return starts;
}

std::vector<GridPoint> prefill_grid() {
  const Sequences many{{1, 3, 113, 1, 3, 239, 799, 108, 640}, {1, 239, 203, 1024, 4096, 1, 3, 256, 128}};
  const Sequences thousands{{1023, 1024}, {1024, 1023}}, longest{{4096}, {4096}};
  std::vector<GridPoint> made;
  const auto add = [&](PrefillAttention::Shape shape, const Sequences& of, Heads heads) {
    shape.cu_seqlens_q = starts_of(of.queries), shape.cu_seqlens_k = starts_of(of.keys);
    shape.heads = heads.all, shape.kv_heads = heads.kv;
    shape.value_dim = shape.head_dim == 192 ? 128 : 0;
    made.push_back(point_of<PrefillAttention>(shape, std::to_string(shape.cu_seqlens_k.back()) + " keys"));
  };
  for (const char* const type : kTypes) {
    for (const std::size_t head_dim : {64, 72, 80, 96, 128, 192, 256}) {
      for (const bool causal : {true, false})
        add({.type = type, .head_dim = head_dim, .causal = causal}, many, kHeads[made.size() % 3]);
      add({.type = type, .head_dim = head_dim}, thousands, {2, 1});
    }
    add({.type = type, .head_dim = 64}, longest, {1, 1});
  }
  return made;
}

std::vector<GridPoint> vision_grid() {
  std::vector<GridPoint> made;
  for (const char* const type : kTypes)
    for (const std::size_t head_dim : {64, 72, 80, 128})
      made.push_back(
          point_of<VisionAttention>({.type = type,
                                     .cu_seqlens = starts_of({1, 3, 113, 239, 64, 64, 0, 1023, 1024}),
                                     .heads = 1,
                                     .head_dim = head_dim},
                                    "an image"));
  return made;
}

/// Every type, cache and head size that is compiled in, at every page size.
std::vector<GridPoint> decode_grid() {
  std::vector<GridPoint> made;
  const auto add = [&](const DecodeTypes& types, std::size_t page_size) {
    const std::size_t turn = made.size();
    const bool latent = types.key_dim == MlaTiles<float>::key_dim;
    const Heads heads = kHeads[latent ? 1 + turn % 4 : turn % 5];
    const DecodeAttention::Shape shape{.type = std::string(types.type),
                                       .cache = std::string(types.cache),
                                       .seqlens = {1, 3, 113, 239, 1023, 1024, 4096},
                                       .page_size = page_size,
                                       .splits = std::array<std::size_t, 3>{0, 1, 7}[turn / 3 % 3],
                                       .heads = heads.all,
                                       .kv_heads = heads.kv,
                                       .head_dim = types.key_dim,
                                       .value_dim = types.value_dim,
                                       .latent = latent};
    made.push_back(point_of<DecodeAttention>(shape, shape.cache + " in pages of " +
                                                        std::to_string(page_size) + ", splits " +
                                                        std::to_string(shape.splits)));
  };
  const auto add_all = [&]<typename... Blocks>(Variants<Blocks...>) {
    for (const std::size_t page_size : {1, 16, 128}) (add(Blocks::types, page_size), ...);
  };
  add_all(DecodeVariants{});
  return made;
}

class AttentionGrid : public testing::TestWithParam<GridPoint> {};
INSTANTIATE_TEST_SUITE_P(Prefill, AttentionGrid, testing::ValuesIn(prefill_grid()));
INSTANTIATE_TEST_SUITE_P(Vision, AttentionGrid, testing::ValuesIn(vision_grid()));
INSTANTIATE_TEST_SUITE_P(Decode, AttentionGrid, testing::ValuesIn(decode_grid()));

TEST_P(AttentionGrid, AgreesWithTheOracle) {
  if (sanitizers::thread || sanitizers::address)
    GTEST_SKIP() << "minutes under a sanitizer, on paths that shorter shapes take too";
  const Kernel& kernel = *GetParam().kernel;
  KernelMemory memory(kernel, 51);
  ASSERT_EQ(kernel.wrong_inputs(memory.views()), "");
  ASSERT_EQ(memory.launch(7), Status::success) << host_launch_report();
  const Comparison comparison = memory.compare();
  EXPECT_TRUE(comparison.within) << comparison.text;
}

}  // namespace
}  // namespace drought
