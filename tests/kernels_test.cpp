// Every kernel of the catalogue at every shape it lists, on the host lane against its float64 oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "harness/simt/number.hpp"
#include "kernels/catalogue.hpp"
#include "kernels/oracle.hpp"
#include "kernels/shape.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {

void PrintTo(const TestedShape& shown, std::ostream* out) { *out << shown.text; }

namespace {

class EveryKernelShape : public testing::TestWithParam<TestedShape> {};

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
  std::ranges::fill(out.subspan(out.size() / 2 / 4 * 4, 4), std::byte{0xff});
  EXPECT_FALSE(memory.compare().within);
}

/// An attention kernel's type, by what its shape says.
std::string type_in(const std::string& text) {
  const std::size_t at = text.find("type = ") + 7;
  return text.substr(at, text.find(',', at) - at);
}

template <typename T>
void fill_with(std::span<std::byte> part, float value) {
  const T element = from_float<T>(value);
  for (std::size_t i = 0; i < part.size(); i += sizeof(T)) std::memcpy(&part[i], &element, sizeof(T));
}

class EveryAttentionShape : public EveryKernelShape {};

TEST_P(EveryAttentionShape, AveragesValuesOfOneToExactlyOne) {
  KernelMemory memory(*GetParam().kernel, 14);
  std::string_view values = memory.has("v") ? "v" : "v_pages";
  const std::string type = type_in(GetParam().text);
  if (memory.bytes(values).empty()) values = "k_pages";  // A latent cache, whose keys are values too.
  if (type == "fp32") fill_with<float>(memory.bytes(values), 1);
  if (type == "bf16") fill_with<bf16>(memory.bytes(values), 1);
  if (type == "fp16") fill_with<fp16>(memory.bytes(values), 1);
  ASSERT_EQ(memory.launch(3), Status::success) << host_launch_report();
  const auto out = memory.bytes("out");
  const std::size_t count = out.size() / element_bytes(type);
  const HostTensor got(out, type, {count});
  for (std::size_t i = 0; i < count; ++i)
    ASSERT_TRUE(got.at({i}) == 1 || got.at({i}) == 0) << "element " << i << " is " << got.at({i});
  const Comparison comparison = memory.compare();  // Zeros only where there is no key.
  EXPECT_TRUE(comparison.within) << comparison.text;
}

/// Kernels that average values are those that are asked for them. A sink takes weight from them, and what one
/// is in a quantised cache, the cache's own tests know.
std::vector<TestedShape> attention_shapes() {
  std::vector<TestedShape> shapes = tested_shapes();
  std::erase_if(shapes, [](const TestedShape& shape) {
    const std::vector<Part> plan = shape.kernel->plan();
    const std::size_t cache = shape.text.find("cache = ");
    const bool is_quantised =
        cache != std::string::npos && shape.text.find("cache = " + type_in(shape.text)) != cache;
    if (is_quantised || shape.text.find("sinks = true") != std::string::npos) return true;
    return std::none_of(plan.begin(), plan.end(), [](const Part& part) { return part.name == "q"; });
  });
  return shapes;
}

std::string shape_name(const testing::TestParamInfo<TestedShape>& info) {
  return std::string(info.param.kernel->name()) + "_" + std::to_string(info.index);
}

INSTANTIATE_TEST_SUITE_P(Catalogue, EveryKernelShape, testing::ValuesIn(tested_shapes()), shape_name);
INSTANTIATE_TEST_SUITE_P(Catalogue, EveryAttentionShape, testing::ValuesIn(attention_shapes()), shape_name);

TEST(VisionAttention, RefusesStartsThatAreNotItsShapes) {
  const VisionAttention kernel({.cu_seqlens = {0, 17, 50}});
  KernelMemory memory(kernel, 1);
  fill_integers(std::vector<std::int32_t>{0, 60, 50}, memory.bytes("cu_seqlens"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "cu_seqlens[1] is 60, the shape says 17");
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
        BadShape{"prefill_attention", "head_dim = 65", "head_dim 65 is not one of 64, 128"},
        BadShape{"prefill_attention", "heads = 7\nkv_heads = 2", "heads 7 is not a multiple of kv_heads 2"},
        BadShape{"prefill_attention", "kv_heads = 0", "heads and kv_heads must not be 0"},
        BadShape{"prefill_attention", "type = 'fp64'", "unknown type 'fp64'; known: fp32, bf16, fp16"},
        BadShape{"prefill_attention", "queries = 0", "batch and queries must not be 0"},
        BadShape{"prefill_attention", "prefix = 2000000000", "more than 2^30 tokens"},
        BadShape{"prefill_attention", "batch = 65535\nheads = 65535\nprefix = 1000000000\nkv_heads = 65535",
                 "is larger than any memory"},
        BadShape{"prefill_attention", "head = 4", "shape.toml:1:1"},
        BadShape{"vision_attention", "cu_seqlens = [0, 9, 8]", "cu_seqlens goes down at 2, from 9 to 8"},
        BadShape{"vision_attention", "cu_seqlens = [1, 9]", "cu_seqlens must begin with 0"},
        BadShape{"vision_attention", "cu_seqlens = [0, 0]", "cu_seqlens must end between 1 and 2^30"},
        BadShape{"vision_attention", "head_dim = 96", "head_dim 96 is not one of 64, 72, 80, 128"}));

TEST(KernelCatalogue, MakesEveryKernelFromAnEmptyShape) {
  for (const KernelEntry& entry : kernel_catalogue()) {
    const auto kernel = entry.make(Table());
    EXPECT_EQ(kernel->name(), entry.name);
    KernelMemory memory(*kernel, 5);
    EXPECT_EQ(memory.launch(5), Status::success) << host_launch_report();
    EXPECT_TRUE(memory.compare().within) << memory.compare().text;
  }
}

}  // namespace
}  // namespace drought
