// Decode attention on the host lane: what must not change with where pages lie and how sequences are cut, and
// what must never leak from memory that no sequence has.
#include "kernels/decode_attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ostream>

#include "kernels/catalogue.hpp"
#include "kernels/kv_rows.hpp"
#include "kernels/oracle.hpp"
#include "kernels/shape.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {

void PrintTo(const DecodeAttention::Shape& shown, std::ostream* out) {
  *out << shown.type << " over " << shown.cache << " " << shown.head_dim << " " << shown.value_dim
       << ", pages of " << shown.page_size << ", " << shown.splits << " splits";
}

namespace {

using Shape = DecodeAttention::Shape;

class EveryDecodeShape : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Catalogue, EveryDecodeShape, testing::ValuesIn(DecodeAttention::cases()));

TEST_P(EveryDecodeShape, GivesTheSameBitsWhereverItsPagesLie) {
  const DecodeAttention kernel(GetParam());
  KernelMemory memory(kernel, 21);
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  const auto expected = memory.outputs();

  auto table = integers(memory.bytes("page_table"));
  const auto used =
      static_cast<std::size_t>(std::ranges::count_if(table, [](int entry) { return entry >= 0; }));
  const std::size_t pages = GetParam().pages == 0 ? used : GetParam().pages;
  const auto moved_to = permutation(pages, 77);
  for (const char* const name : {"k_pages", "v_pages", "k_scales", "v_scales"}) {
    const auto pool = memory.bytes(name);
    const std::vector<std::byte> old(pool.begin(), pool.end());
    if (pool.empty()) continue;
    const std::size_t page_bytes = pool.size() / pages;
    for (std::size_t page = 0; page < pages; ++page)
      std::copy_n(&old[page * page_bytes], page_bytes,
                  &pool[static_cast<std::size_t>(moved_to[page]) * page_bytes]);
  }
  for (std::int32_t& entry : table)
    if (entry >= 0) entry = moved_to[static_cast<std::size_t>(entry)];
  fill_integers(table, memory.bytes("page_table"));

  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  EXPECT_EQ(memory.outputs(), expected);
}

/// A row of ones as each cache stores it exactly, its scales outside the row being 1.
std::vector<std::byte> row_of_ones(const KvType& type, std::size_t dim) {
  const auto repeat = [&](std::vector<std::uint8_t> unit, std::size_t times) {
    std::vector<std::byte> row;
    for (std::size_t i = 0; i < times; ++i)
      for (const std::uint8_t byte : unit) row.push_back(std::byte{byte});
    return row;
  };
  if (type.name == "fp8_e4m3") return repeat({0x38}, dim);
  if (type.name == "int8") return repeat({1}, dim);
  std::vector<std::uint8_t> block{0x00, 0x3c};  // fp16's one.
  block.resize(type.block_bytes, type.name == "q8_0" ? 1 : 0x99);
  return repeat(block, dim / 32);
}

TEST(DecodeAttention, AveragesOnesInAQuantisedCacheToExactlyOne) {
  for (const KvType& type : kv_types) {
    if (type.is_plain) continue;
    const DecodeAttention kernel(
        {.cache = std::string(type.name), .seqlens = {77, 5}, .splits = 0, .parts = 5});
    KernelMemory memory(kernel, 14);
    const std::vector<std::byte> row = row_of_ones(type, 64);
    const auto pool = memory.bytes("v_pages");
    for (std::size_t at = 0; at < pool.size(); at += row.size()) std::ranges::copy(row, &pool[at]);
    const auto scales = memory.bytes("v_scales");
    const float one = 1;
    for (std::size_t at = 0; at < scales.size(); at += 4) std::memcpy(&scales[at], &one, 4);
    ASSERT_EQ(memory.launch(3), Status::success) << host_launch_report();
    const HostTensor got(memory.bytes("out"), "bf16", {2 * 4 * 64});
    for (std::size_t i = 0; i < 2 * 4 * 64; ++i) ASSERT_EQ(got.at({i}), 1) << type.name << " element " << i;
  }
}

HostTensor output_of(const Shape& shape, std::uint64_t seed) {
  const DecodeAttention kernel(shape);
  KernelMemory memory(kernel, seed);
  EXPECT_EQ(memory.launch(0), Status::success) << host_launch_report();
  const auto out = memory.bytes("out");
  return {out, shape.type, {out.size() / element_bytes(shape.type)}};
}

/// Weights up to 1 times values up to 3.5, each with an exp2 and a log2 of exponents up to 2^5 more than the
/// whole: 3.5 * (2^-20 + 2^5 * 2^-23), and as much again for the sums.
constexpr double kCombining = 4e-5;

TEST(DecodeAttention, DiffersBetweenSplitsByNoMoreThanTheirCombining) {
  Shape shape{.type = "fp32", .seqlens = {113, 0, 65, 1}, .page_size = 3, .kv_heads = 2};
  const HostTensor one = output_of(shape, 31);
  std::vector<Shape> cut;
  for (const std::size_t splits : {2, 3, 4, 7, 64}) {
    cut.push_back(shape);
    cut.back().splits = splits;
  }
  for (const std::size_t parts : {1, 2, 3, 5, 8, 13, 16, 17, 40, 500})
    for (const std::size_t heads : {1, 2}) {
      cut.push_back(shape);
      cut.back().splits = 0, cut.back().parts = parts, cut.back().heads_at_once = heads;
    }
  for (const Shape& changed : cut) {
    const HostTensor many = output_of(changed, 31);
    for (std::size_t i = 0; i < 4 * 4 * 64; ++i)
      ASSERT_LE(std::abs(many.at({i}) - one.at({i})), kCombining)
          << changed.splits << " splits, " << changed.parts << " parts, element " << i;
  }
}

/// Outputs may be rounded to the type either way, and so may a plain cache's weights, of values up to 3.5.
TEST_P(EveryDecodeShape, DiffersBetweenSplitsByNoMoreThanTheirCombining) {
  Shape shape = GetParam();
  shape.splits = 1;
  const HostTensor one = output_of(shape, 31);
  const std::size_t count = shape.seqlens.size() * shape.heads * shape.value_dim;
  const double largest_value = shape.cache == shape.type ? 3.5 : 0;
  for (const std::size_t splits : {0, 2, 5}) {
    shape.splits = splits;
    const HostTensor many = output_of(shape, 31);
    for (std::size_t i = 0; i < count; ++i)
      ASSERT_LE(std::abs(many.at({i}) - one.at({i})),
                kCombining + 2 * unit_roundoff(shape.type) * (std::abs(one.at({i})) + largest_value))
          << splits << " splits, element " << i;
  }
}

/// ||a - b||^2 / ||b||^2, as ggml's test-backend-ops has it, where it may be 5e-4 for q8_0.
double squared_error(const HostTensor& got, const HostTensor& expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < got.row({}).size(); ++i) {
    error += std::pow(got.at({i}) - expected.at({i}), 2);
    size += std::pow(expected.at({i}), 2);
  }
  return error / size;
}

TEST(DecodeAttention, ComesNearWhatTheCacheHeldBeforeItWasQuantised) {
  const auto error_of = [](const char* cache) {
    const Shape plain{.seqlens = {300, 77}, .heads = 8, .kv_heads = 2, .head_dim = 128};
    Shape quantised = plain;
    quantised.cache = cache;
    return squared_error(output_of(quantised, 6), output_of(plain, 6));
  };
  EXPECT_LE(error_of("q8_0"), 5e-4);
  EXPECT_LE(error_of("int8"), 5e-4);
  EXPECT_GT(error_of("q4_0"), 5e-4) << "four bits cannot, so nothing was quantised";
}

TEST(DecodeAttention, SeesTheWholeCacheThroughAWindowAsLongAsIt) {
  Shape shape{.seqlens = {40, 7}, .splits = 3};
  const HostTensor whole = output_of(shape, 3);
  shape.window = 40;
  const HostTensor same = output_of(shape, 3);
  shape.window = 39;
  const HostTensor less = output_of(shape, 3);
  bool differs = false;
  for (std::size_t i = 0; i < 2 * 4 * 64; ++i) {
    ASSERT_EQ(same.at({i}), whole.at({i}));
    differs = differs || less.at({i}) != whole.at({i});
    if (i >= 4 * 64) {
      ASSERT_EQ(less.at({i}), whole.at({i})) << "the sequence of 7 is within the window";
    }
  }
  EXPECT_TRUE(differs);
}

TEST(DecodeAttention, TakesTheSameWorkspaceAndGridWhateverTheLengths) {
  const auto bytes_of = [](std::vector<std::size_t> lengths) {
    std::vector<std::size_t> bytes;
    for (const Part& part : DecodeAttention({.seqlens = lengths, .pages = 9000, .splits = 0}).plan())
      if (part.role == Part::Role::workspace || part.name == "schedule") bytes.push_back(part.bytes);
    return bytes;
  };
  EXPECT_EQ(bytes_of({1, 0, 5}), bytes_of({100000, 3, 40000}));
}

TEST(DecodeAttention, CutsABatchIntoPartsThatEndWhereItsUnitsDoWhereThatLeavesFewBlocksIdle) {
  const auto parts_of = [](std::size_t batch, std::size_t heads_at_once) {
    return DecodeAttention({.seqlens = std::vector<std::size_t>(batch, 1),
                            .splits = 0,
                            .heads_at_once = heads_at_once,
                            .heads = 32,
                            .kv_heads = 8,
                            .head_dim = 128})
        .shape()
        .parts;
  };
  EXPECT_EQ(parts_of(1, 1), 256u);   // 32 of each unit, which are weighed at once; 33 would leave none idle.
  EXPECT_EQ(parts_of(1, 4), 256u);
  EXPECT_EQ(parts_of(16, 1), 256u);  // Two of each of 128.
  EXPECT_EQ(parts_of(64, 1), 256u);  // Two units each.
  EXPECT_EQ(parts_of(64, 2), 256u);
  EXPECT_EQ(parts_of(20, 1), 264u);   // One of each of 160 would leave a third idle.
  EXPECT_EQ(parts_of(100, 1), 264u);  // Four of 800 each too.
}

TEST(DecodeAttention, RefusesAPageThatThePoolDoesNotHaveBeforeAndDuringTheLaunch) {
  const DecodeAttention kernel({.seqlens = {40}, .page_size = 16});
  KernelMemory memory(kernel, 1);
  fill_integers(std::vector<std::int32_t>{0, 3, 1}, memory.bytes("page_table"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "page_table[0][1] is 3, the pool has 3 pages");
  EXPECT_EQ(memory.launch(0), Status::illegal_address);
  EXPECT_NE(host_launch_report().find("leaves the operand 'k_pages' (6144 bytes) at byte 6158"),
            std::string::npos)
      << host_launch_report();
}

TEST(DecodeAttention, RefusesAScheduleOfOtherLengths) {
  const DecodeAttention kernel({.seqlens = {40, 50}, .splits = 0, .parts = 2});
  KernelMemory memory(kernel, 1);
  ASSERT_EQ(kernel.wrong_inputs(memory.views()), "");
  fill_integers(std::vector<std::int32_t>{40, 3}, memory.bytes("seqlens"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "schedule[2] is not what seqlens ask for, 0");
}

TEST(DecodeAttention, RefusesOperandsThatDoNotBeginAtSixteenBytesBeforeAnyLaunch) {
  const DecodeAttention kernel({.seqlens = {40}});
  const std::vector<Part> plan = kernel.plan();
  for (const std::size_t crooked :
       {DecodeAttention::q, DecodeAttention::k_pages, DecodeAttention::v_pages, DecodeAttention::out}) {
    std::vector<void*> parts(plan.size(), reinterpret_cast<void*>(std::uintptr_t{4096}));
    parts[crooked] = reinterpret_cast<void*>(std::uintptr_t{4104});
    PlainDevice device;
    EXPECT_EQ(kernel.launch(device, {}, parts), Status::misaligned_address) << plan[crooked].name;
  }
}

struct BadShape {
  const char *toml, *problem;
};

class EveryBadDecodeShape : public testing::TestWithParam<BadShape> {};

TEST_P(EveryBadDecodeShape, IsRefusedWithOneLineThatSaysWhy) {
  try {
    find_entry(kernel_catalogue(), "decode_attention")->make(parse_toml(GetParam().toml, "shape.toml"));
    FAIL() << "accepted";
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().problem), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kernels, EveryBadDecodeShape,
    testing::Values(
        BadShape{"page_size = 0", "page_size must be between 1 and 2^30"},
        BadShape{"splits = 1025", "splits must be at most 1024"},
        BadShape{"seqlens = []", "seqlens must name between 1 and 65535 sequences"},
        BadShape{"seqlens = [40]\npages = 2", "2 pages do not hold the sequences, which fill 3"},
        BadShape{"head_dim = 100", "head_dim 100 is not one of 64, 72, 80, 96, 128, 256"},
        BadShape{"head_dim = 128\nvalue_dim = 192",
                 "head_dim 128 with value_dim 192 is not compiled in for a cache of bf16"},
        BadShape{"head_dim = 576\nvalue_dim = 512",
                 "a latent cache has head_dim 576 and value_dim 512, and no other has"},
        BadShape{"head_dim = 576\nvalue_dim = 512\nlatent = true\nkv_heads = 2",
                 "a latent cache has one KV head"},
        BadShape{"latent = true", "a latent cache has head_dim 576 and value_dim 512, and no other has"},
        BadShape{"cache = 'q4_0'\nhead_dim = 80", "head_dim 80 is not one of 64, 128, 256"},
        BadShape{"cache = 'q5_1'",
                 "unknown cache type 'q5_1'; known: fp32, bf16, fp16, fp8_e4m3, int8, q8_0, q4_0"},
        BadShape{"cache = 'fp16'", "queries of bf16 do not go with a cache of fp16"},
        BadShape{"cache = 'q8_0'\nk_scale = 0.5", "k_scale and v_scale are for a cache of fp8_e4m3"},
        BadShape{"cache = 'fp8_e4m3'\nk_scale = 0.0", "k_scale and v_scale must be above 0"},
        BadShape{"softcap = -1.0", "softcap must be between 0 and a million"},
        BadShape{"kv_heads = 4\nheads_at_once = 3", "kv_heads 4 is not a multiple of heads_at_once 3"},
        BadShape{"body = 'fastest'", "unknown body 'fastest'"}));

}  // namespace
}  // namespace drought
