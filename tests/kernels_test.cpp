// Every kernel of the catalogue at every shape it lists, on the host lane against its float64 oracle.
#include <gtest/gtest.h>

#include <algorithm>

#include "harness/simt/number.hpp"
#include "kernels/add_rows.hpp"
#include "kernels/catalogue.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/embedding.hpp"
#include "kernels/linear.hpp"
#include "kernels/oracle.hpp"
#include "kernels/sampling.hpp"
#include "kernels/shape.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/kernel_memory.hpp"
#include "tests/tested_shape.hpp"

namespace drought {

namespace {

class EveryKernelShape : public testing::TestWithParam<TestedShape> {
 protected:
  void SetUp() override {
    const std::string missing = missing_library(*GetParam().kernel, Lane::host);
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
};

TEST_P(EveryKernelShape, AgreesWithItsOracleOnPoisonedMemory) {
  KernelMemory memory(*GetParam().kernel, 11);
  ASSERT_EQ(GetParam().kernel->wrong_inputs(memory.views()), "");
  ASSERT_EQ(memory.launch(1), Status::success) << host_launch_report();
  const Comparison comparison = memory.compare();
  EXPECT_TRUE(comparison.within) << comparison.text;
}

TEST_P(EveryKernelShape, GivesTheSameBitsInWhateverOrderItsThreadsRun) {
  KernelMemory memory(*GetParam().kernel, 12);
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  const auto first = memory.outputs();
  ASSERT_EQ(memory.launch(98765), Status::success) << host_launch_report();
  EXPECT_EQ(memory.outputs(), first);
}

TEST_P(EveryKernelShape, IsSeenToBeWrongWhenOneOutputIsNaN) {
  KernelMemory memory(*GetParam().kernel, 13);
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  ASSERT_TRUE(memory.compare().within);
  const auto out = memory.output();
  const std::size_t spoilt = std::min<std::size_t>(4, out.size());
  std::ranges::fill(out.subspan(out.size() / 2 / 4 * 4, spoilt), std::byte{0xff});
  EXPECT_FALSE(memory.compare().within);
}

INSTANTIATE_TEST_SUITE_P(Catalogue, EveryKernelShape, testing::ValuesIn(tested_shapes()), shape_name);

TEST(VisionAttention, RefusesStartsThatAreNotItsShapes) {
  const VisionAttention kernel({.cu_seqlens = {0, 17, 50}});
  KernelMemory memory(kernel, 1);
  fill_integers(std::vector<std::int32_t>{0, 60, 50}, memory.bytes("cu_seqlens"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "cu_seqlens[1] is 60, the shape says 17");
}

TEST(Embedding, RefusesATokenThatTheTableDoesNotHaveBeforeAndDuringTheLaunch) {
  const Embedding kernel({.rows = 2, .entries = 4, .width = 8});
  KernelMemory memory(kernel, 1);
  fill_integers(std::vector<std::int32_t>{3, -1}, memory.bytes("indices"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "indices[1] is -1, the table has 4 entries");
  EXPECT_EQ(memory.launch(0), Status::illegal_address);
  EXPECT_NE(host_launch_report().find("meets an index that it may not follow"), std::string::npos)
      << host_launch_report();
}

TEST(AddRows, RefusesARowThatThereIsNotToAddBeforeAndDuringTheLaunch) {
  const AddRows kernel({.rows = 2, .entries = 4, .width = 8});
  KernelMemory memory(kernel, 1);
  fill_integers(std::vector<std::int32_t>{-1, 4}, memory.bytes("indices"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "indices[1] is 4, there are 4 rows to add");
  EXPECT_EQ(memory.launch(0), Status::illegal_address);
  fill_integers(std::vector<std::int32_t>{-2, 3}, memory.bytes("indices"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "indices[0] is -2, there are 4 rows to add");
}

TEST(Sampling, DrawsEachTokenAsOftenAsItsProbabilitySays) {
  constexpr std::size_t rows = 1000, vocab = 4;
  const Sampling kernel({.rows = rows, .vocab = vocab, .top_k = 3, .temperature = 1.0});
  KernelMemory memory(kernel, 5);
  const float logits[vocab] = {0.0f, std::log(2.0f), std::log(5.0f), -1.0f};
  for (std::size_t r = 0; r < rows; ++r) {
    std::memcpy(&memory.bytes("logits")[r * sizeof logits], logits, sizeof logits);
    const float drawn = (static_cast<float>(r) + 0.5f) / rows;
    std::memcpy(&memory.bytes("uniforms")[r * sizeof drawn], &drawn, sizeof drawn);
  }
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  std::size_t counts[vocab] = {};
  for (const std::int32_t token : integers(memory.bytes("out"))) ++counts[token];
  EXPECT_EQ(counts[0], 125u);
  EXPECT_EQ(counts[1], 250u);
  EXPECT_EQ(counts[2], 625u);
  EXPECT_EQ(counts[3], 0u);
}

/// A library's call answers for its operands as simulated threads do.
TEST(Linear, TouchesNothingThatItsLaunchDoesNotDeclare) {
  const Linear kernel(Linear::Shape{});
  if (const std::string missing = missing_library(kernel, Lane::host); !missing.empty())
    GTEST_SKIP() << missing;
  class Undeclaring final : public PlainDevice {
    Status do_launch(const Launch& launch) override {
      std::vector<Operand> fewer(launch.operands.begin(), launch.operands.end());
      fewer[1].bytes -= 1;
      Launch changed = launch;
      changed.operands = fewer;
      return changed.host(changed);
    }
  } device;
  KernelMemory memory(kernel, 3);
  EXPECT_EQ(memory.launch_on(device, 0), Status::illegal_address);
}

struct BadShape {
  const char *kernel, *toml, *problem;
};

class EveryBadShape : public testing::TestWithParam<BadShape> {};

TEST_P(EveryBadShape, IsRefusedWithOneLineThatSaysWhy) {
  const KernelEntry* const entry = find_entry(kernel_catalogue(), GetParam().kernel);
  ASSERT_NE(entry, nullptr);
  try {
    entry->make(parse_toml(GetParam().toml, "shape.toml"));
    FAIL() << "accepted";
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().problem), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kernels, EveryBadShape,
    testing::Values(
        BadShape{"prefill_attention", "head_dim = 65",
                 "head_dim 65 is not one of 64, 72, 80, 96, 128, 192, 256"},
        BadShape{"prefill_attention", "heads = 7\nkv_heads = 2", "heads 7 is not a multiple of kv_heads 2"},
        BadShape{"prefill_attention", "kv_heads = 0", "heads and kv_heads must not be 0"},
        BadShape{"prefill_attention", "type = 'fp64'", "unknown type 'fp64'; known: fp32, bf16, fp16"},
        BadShape{"prefill_attention", "queries = 0", "batch and queries must not be 0"},
        BadShape{"prefill_attention", "prefix = 2000000000", "more than 2^30 tokens"},
        BadShape{"decode_attention", "page_size = 1073741824\npages = 2\nbody = 'hopper'\nhead_dim = 128",
                 "a pool of less than 2^31 tokens"},
        BadShape{"prefill_attention", "batch = 65535\nheads = 65535\nprefix = 1000000000\nkv_heads = 65535",
                 "is larger than any memory"},
        BadShape{"prefill_attention", "head = 4", "shape.toml:1:1"},
        BadShape{"prefill_attention", "head_dim = 192",
                 "no body takes bf16 with head_dim 192 and value_dim 192"},
        BadShape{"prefill_attention", "value_dim = 128", "with head_dim 64 and value_dim 128"},
        BadShape{"prefill_attention", "cu_seqlens_q = [0, 3]",
                 "cu_seqlens_q and cu_seqlens_k must name as many sequences"},
        BadShape{"prefill_attention", "cu_seqlens_q = [0, 3]\ncu_seqlens_k = [0, 3, 2]", "as many sequences"},
        BadShape{"prefill_attention", "cu_seqlens_q = [0, 3, 4]\ncu_seqlens_k = [0, 3, 2]",
                 "cu_seqlens_k goes down at 2, from 3 to 2"},
        BadShape{"prefill_attention", "cu_seqlens_q = [0, 0]\ncu_seqlens_k = [0, 2]",
                 "cu_seqlens_q must end above 0"},
        BadShape{"prefill_attention", "window_left = 1073741825", "must be 2^30 or below"},
        BadShape{"prefill_attention", "softcap = -1", "softcap must be between 0 and 1e6"},
        BadShape{"prefill_attention", "type = 'fp16'\nbody = 'hopper'", "the hopper body takes bf16"},
        BadShape{"prefill_attention", "body = 'hopper'\ncu_seqlens_q = [0, 1]\ncu_seqlens_k = [0, 0]",
                 "at least one key"},
        BadShape{"prefill_attention", "body = 'hopper'\nbatch = 65535\nheads = 20000\nqueries = 1",
                 "no more than 2^30 tiles"},
        BadShape{"prefill_attention", "body = 'ampere'", "unknown body 'ampere'"},
        BadShape{"rope", "head_dim = 60", "head_dim must be a multiple of 8 up to 512"},
        BadShape{"rope", "rotary_dim = 72", "rotary_dim must be a multiple of 8 and no more than head_dim"},
        BadShape{"rope", "positions = 'audio'",
                 "unknown positions 'audio'; known: text, m-rope, interleaved-m-rope, vision"},
        BadShape{"rope", "positions = 'm-rope'\nsections = [16, 8, 7]",
                 "sections must add up to the 32 pairs"},
        BadShape{"rope", "positions = 'interleaved-m-rope'\nsections = [12, 10, 11]",
                 "sections must add up to the 32 pairs"},
        BadShape{"rope", "positions = 'interleaved-m-rope'\nsections = [16, 16]", "has three sections"},
        BadShape{"rope", "positions = 'interleaved-m-rope'\nsections = [10, 11, 11]",
                 "sections of height and width are too large to be dealt out in turn"},
        BadShape{"rope", "sections = [32]", "sections are for m-rope only"},
        BadShape{"rope", "scaling = 'yarn'", "unknown scaling 'yarn'; known: none, linear, llama3"},
        BadShape{"rope", "scaling = 'linear'\nfactor = 0.5", "factor must be between 1 and a million"},
        BadShape{"rope", "factor = 2", "factor is for a scaling only"},
        BadShape{"rope", "scaling = 'llama3'\nlow_factor = 4",
                 "low_factor must be above 0 and below high_factor"},
        BadShape{"rope", "trained_tokens = 0", "trained_tokens must be between 1 and 2^30"},
        BadShape{"rope", "base = 1", "base must be above 1"},
        BadShape{"patch_embedding", "patch = 0", "a patch must have between 1 and 2^30 numbers"},
        BadShape{"patch_embedding", "channels = 4611686018427387904\npatch = 8",
                 "a patch is larger than any memory"},
        BadShape{"patch_embedding", "columns = 4194241", "columns must be between 1 and 4194240"},
        BadShape{"patch_merger", "columns = 5", "rows and columns must be multiples of merge"},
        BadShape{"patch_merger", "norm = 'batch'", "unknown kind 'batch'; known: none, rms, layer"},
        BadShape{"patch_merger", "epsilon = 0", "epsilon must be above 0 and below 1"},
        BadShape{"vision_attention", "cu_seqlens = [0, 9, 8]", "cu_seqlens goes down at 2, from 9 to 8"},
        BadShape{"vision_attention", "cu_seqlens = [1, 9]", "cu_seqlens must begin with 0"},
        BadShape{"vision_attention", "cu_seqlens = [0, 0]", "cu_seqlens must end above 0"},
        BadShape{"vision_attention", "head_dim = 96", "head_dim 96 is not one of 64, 72, 80, 128"},
        BadShape{"norm", "kind = 'batch'", "unknown kind 'batch'; known: none, rms, layer"},
        BadShape{"norm", "width = 0", "rows and width must not be 0"},
        BadShape{"norm", "epsilon = 0.0", "epsilon must be above 0 and below 1"},
        BadShape{"gated_activation", "function = 'relu'", "unknown function 'relu'; known: silu, gelu_tanh"},
        BadShape{"gated_activation", "rows = 1073741824\nwidth = 1073741824", "more than a grid takes"},
        BadShape{"embedding", "entries = 0", "entries must be between 1 and 2^30"},
        BadShape{"add_rows", "entries = 0", "entries must be between 1 and 2^30"},
        BadShape{"sampling", "top_k = 301", "top_k is more than vocab"},
        BadShape{"sampling", "temperature = 0.0", "temperature must be between 0.01 and 100"},
        BadShape{"sampling", "vocab = 20000000", "vocab must be below 2^24"},
        BadShape{"linear", "type = 'fp16'\nout_type = 'fp32'", "unknown type 'fp16'; known: fp32, bf16"},
        BadShape{"linear", "type = 'int4'", "unknown type 'int4'; known: fp32, bf16"},
        BadShape{"linear", "depth = 2000000000", "rows or width is more than 2^30"}));

TEST(KernelCatalogue, MakesEveryKernelFromAnEmptyShape) {
  std::string missing;
  for (const KernelEntry& entry : kernel_catalogue()) {
    const auto kernel = entry.make(Table());
    EXPECT_EQ(kernel->name(), entry.name);
    if (std::string why = missing_library(*kernel, Lane::host); !why.empty()) {
      missing = std::move(why);
      continue;
    }
    KernelMemory memory(*kernel, 5);
    EXPECT_EQ(memory.launch(5), Status::success) << host_launch_report();
    EXPECT_TRUE(memory.compare().within) << memory.compare().text;
  }
  if (!missing.empty()) GTEST_SKIP() << missing;
}

}  // namespace
}  // namespace drought
