// Hopper's body of decode attention against the float64 oracle, on a GPU: every cache, where a tile, a page,
// a piece or a window begins and ends, and every way to share the heads out over the warps.
#include <gtest/gtest.h>

#include <string>

#include "kernels/decode_attention.hpp"
#include "kernels/kv_rows.hpp"
#include "kernels/sm90/decode_bodies.hpp"
#include "tests/device_memory.hpp"

namespace drought {
namespace {

using Shape = DecodeAttention::Shape;

std::string text_of(const Shape& s) {
  return s.type + " over " + s.cache + " of " + std::to_string(s.head_dim) + ", " + std::to_string(s.heads) +
         "/" + std::to_string(s.kv_heads) + " heads, " + std::to_string(s.heads_at_once) +
         " at once, pages of " + std::to_string(s.page_size) + ", splits " + std::to_string(s.splits) +
         ", parts " + std::to_string(s.parts) + ", window " + std::to_string(s.window);
}

/// As served models have them.
Shape served(std::size_t batch, std::size_t tokens, const std::string& cache) {
  return {.cache = cache,
          .seqlens = std::vector<std::size_t>(batch, tokens),
          .page_size = 16,
          .splits = 0,
          .heads = 32,
          .kv_heads = 8,
          .head_dim = 128,
          .body = "hopper"};
}

class HopperDecode : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    device_ = device_of(Lane::cuda, why_not);
    if (!device_) GTEST_SKIP() << why_not;
  }
  void expect_right(Shape shape) {
    shape.body = "hopper";
    expect_right_twice(*device_, DecodeAttention(shape), text_of(shape));
  }

  std::unique_ptr<Device> device_;
};

TEST_F(HopperDecode, AgreesWithTheOracleOverEveryCache) {
  struct Stored {
    const char *type, *cache;
    std::size_t head_dim;
  };
  std::vector<Stored> stored{
      {"fp16", "fp16", 64}, {"fp16", "fp16", 128}, {"bf16", "bf16", 80}, {"bf16", "bf16", 96}};
  for (const char* const cache : {"bf16", "fp8_e4m3", "int8", "q8_0", "q4_0"})
    for (const std::size_t head_dim : {64, 128}) stored.push_back({"bf16", cache, head_dim});
  std::size_t turn = 0;
  for (const Stored& of : stored)
    for (const std::size_t group : {1, 4, 8, 13, 20}) {
      const bool is_fp8 = std::string(of.cache) == "fp8_e4m3", brings_tokens = turn / 2 % 2 == 1;
      const std::size_t row_bytes = kv_type_named(of.cache).row_bytes(of.head_dim);
      expect_right({.type = of.type,
                    .cache = of.cache,
                    .seqlens = {1, 0, 16, 777, 33, 1025},
                    .page_size = std::array<std::size_t, 4>{16, 1, 3, 64}[turn % 4],
                    .splits = std::array<std::size_t, 5>{0, 1, 0, 7, 0}[turn % 5],
                    .parts = std::array<std::size_t, 3>{0, 5, 31}[turn % 3],
                    .heads_at_once = brings_tokens ? sm90::decode_warps(row_bytes) : 0u,
                    .heads = 8 * group,
                    .kv_heads = 8,
                    .head_dim = of.head_dim,
                    .window = turn % 3 == 1 ? 500u : 0u,
                    .sinks = turn % 4 == 2,
                    .k_scale = is_fp8 ? 0.25 : 1,
                    .v_scale = is_fp8 ? 0.75 : 1});
      ++turn;
    }
}

TEST_F(HopperDecode, AgreesWithTheOracleHoweverWarpsShareTheHeads) {
  for (const std::size_t kv_heads : {1, 2, 3, 6, 8, 12})
    for (std::size_t at_once = 1; at_once <= 4; ++at_once)
      for (const std::size_t splits : {0, 3}) {
        if (kv_heads % at_once != 0) continue;
        expect_right({.seqlens = {300, 17, 129},
                      .splits = splits,
                      .heads_at_once = at_once,
                      .heads = 4 * kv_heads,
                      .kv_heads = kv_heads,
                      .head_dim = 128});
      }
}

// Pages that hold whole tiles, parts of them, neither, or more than a sequence; and rows of a token that lie
// one after the other in the pool, or with other heads' between them.
TEST_F(HopperDecode, AgreesWithTheOracleHoweverLongPagesAre) {
  for (const char* const cache : {"bf16", "fp8_e4m3", "int8", "q8_0", "q4_0"})
    for (const std::size_t page_size : {2, 4, 8, 24, 48, 4096})
      for (const std::size_t head_dim : {64, 128}) {
        const bool has_others = page_size % 16 == 8;
        expect_right({.cache = cache,
                      .seqlens = {700, 131, 47},
                      .page_size = page_size,
                      .splits = page_size == 48 ? 1u : 0u,
                      .parts = 7,
                      .heads_at_once = sm90::decode_warps(kv_type_named(cache).row_bytes(head_dim)),
                      .heads = has_others ? 64u : 32u,
                      .kv_heads = has_others ? 16u : 8u,
                      .head_dim = head_dim,
                      .window = page_size == 4 ? 99u : 0u});
      }
}

// Scores of normal numbers, not divided by the root of head_dim: the largest of the first tile is exceeded by
// more than weights may be, so that what was added up before must be rescaled.
TEST_F(HopperDecode, AgreesWithTheOracleWhereScoresGoFarUp) {
  for (const char* const cache : {"bf16", "fp8_e4m3", "int8", "q8_0", "q4_0"})
    for (const std::size_t head_dim : {64, 128})
      for (const std::size_t at_once : {1, 4, 8}) {
        const std::size_t row_bytes = kv_type_named(cache).row_bytes(head_dim);
        if (at_once > sm90::decode_warps(row_bytes)) continue;
        expect_right({.cache = cache,
                      .seqlens = {1025, 300},
                      .page_size = 16,
                      .splits = at_once == 4 ? 0u : 1u,
                      .parts = 5,
                      .heads_at_once = at_once,
                      .heads = 32,
                      .kv_heads = 8,
                      .head_dim = head_dim,
                      .scale = 1});
      }
}

// Where a wait were missing, blocks that keep the memory busy would now and then read what is not there yet,
// or is no more.
TEST_F(HopperDecode, GivesTheSameBitsAgainUnderLoad) {
  for (const char* const cache : {"bf16", "fp8_e4m3", "int8", "q8_0", "q4_0"}) {
    const DecodeAttention kernel(served(64, 1024, cache));
    DeviceMemory memory(*device_, kernel);
    memory.run();
    const auto first = memory.host();
    for (int again = 0; again < 10; ++again) {
      memory.run();
      ASSERT_EQ(memory.host(), first) << cache;
    }
  }
}

// A launch may begin while the kernel before still runs, and must not read what that one has yet to write.
TEST_F(HopperDecode, ReadsWhatTheKernelBeforeWrote) {
  for (const std::size_t batch : {1, 64}) {
    const DecodeAttention kernel(served(batch, 4096, "bf16"));
    DeviceMemory before(*device_, kernel, 41), memory(*device_, kernel, 42);
    before.run();
    memory.run();
    std::vector<void*> after = memory.parts();
    after[DecodeAttention::q] = before.parts()[DecodeAttention::out];
    const std::size_t out_bytes = memory.host()[DecodeAttention::out].size();
    const auto results = [&](bool at_rest) {
      std::vector<std::byte> out(out_bytes);
      EXPECT_EQ(device_->memset(after[DecodeAttention::q], 0, out_bytes), Status::success);
      EXPECT_EQ(kernel.launch(*device_, {}, before.parts()), Status::success);
      if (at_rest) {
        EXPECT_EQ(device_->synchronize(), Status::success);
      }
      EXPECT_EQ(kernel.launch(*device_, {}, after), Status::success);
      EXPECT_EQ(device_->memcpy(out.data(), after[DecodeAttention::out], out_bytes), Status::success);
      return out;
    };
    const auto right = results(true);
    for (int again = 0; again < 10; ++again) ASSERT_EQ(results(false), right) << batch;
  }
}

// Whose pieces are short and many, and which nothing else hides.
TEST_F(HopperDecode, AgreesWithTheOracleOverALoneSequence) {
  for (const std::size_t kv_heads : {5, 6, 8, 12, 16, 25, 33, 50})
    for (const std::size_t length : {0, 1, 15, 17, 300, 5000})
      for (const std::size_t group : {1, 4, 13})
        expect_right({.cache = group == 4 && kv_heads % 2 == 0 ? "q8_0" : "bf16",
                      .seqlens = {length},
                      .splits = 0,
                      .heads_at_once = 1,
                      .heads = group * kv_heads,
                      .kv_heads = kv_heads,
                      .head_dim = group == 1 ? 64u : 128u,
                      .window = length == 300 ? 77u : 0u,
                      .sinks = length % 2 == 1});
}

TEST_F(HopperDecode, AgreesWithTheOracleOverLongSequencesInManyPieces) {
  for (const char* const cache : {"bf16", "q4_0"})
    for (const std::size_t splits : {0, 64})
      expect_right({.cache = cache,
                    .seqlens = {20000, 1},
                    .splits = splits,
                    .heads = 8,
                    .kv_heads = 2,
                    .head_dim = 128});
  expect_right(
      {.cache = "q8_0", .seqlens = {20000, 1}, .splits = 0, .heads = 8, .kv_heads = 8, .head_dim = 128});
}

}  // namespace
}  // namespace drought
