// Appending to a KV cache: what is refused before a launch, and what the stored rows are worth.
#include "kernels/kv_append.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/kv_rows.hpp"
#include "kernels/shape.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {
namespace {

TEST(KvAppend, RefusesASlotThatThePoolDoesNotHaveOrThatTwoTokensShare) {
  const KvAppend kernel({.tokens = 3, .page_size = 16, .pages = 2, .padded = 0});
  KernelMemory memory(kernel, 1);
  const auto wrong_with = [&](const std::vector<std::int32_t>& slots) {
    fill_integers(slots, memory.bytes("slots"));
    return kernel.wrong_inputs(memory.views());
  };
  EXPECT_EQ(wrong_with({31, 0, -1}), "");
  EXPECT_EQ(wrong_with({31, 32, 0}), "slots[1] is 32, the pool has 32");
  EXPECT_EQ(wrong_with({31, -2, 0}), "slots[1] is -2, the pool has 32");
  EXPECT_EQ(wrong_with({5, -1, 5}), "slots[2] is 5, as slots[0] is");
}

TEST(KvAppend, StoresRowsWithoutValuesAmongThoseOfEarlierTokensAndLeavesThese) {
  const KvAppend kernel({.type = "fp32",
                         .tokens = 2,
                         .page_size = 1,
                         .pages = 5,
                         .padded = 0,
                         .kv_heads = 1,
                         .head_dim = 3,
                         .values = false,
                         .in_use = true});
  KernelMemory memory(kernel, 1);
  fill_integers(std::vector<std::int32_t>{4, 1}, memory.bytes("slots"));
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  const auto pool = memory.bytes("k_pages");
  for (const std::size_t row : {0, 2, 3})
    for (const std::byte byte : pool.subspan(row * 12, 12)) EXPECT_EQ(byte, std::byte{0xff});
  std::ranges::fill(pool.subspan(24, 12), std::byte{7});  // Of an earlier token.
  EXPECT_TRUE(memory.compare().within) << memory.compare().text;
  pool[50] ^= std::byte{1};
  EXPECT_FALSE(memory.compare().within) << "a token's own row";
}

TEST(KvAppend, NeverWritesOutsideThePoolWhateverTheSlot) {
  const KvAppend kernel({.tokens = 2, .page_size = 16, .pages = 1, .padded = 0});
  KernelMemory memory(kernel, 1);
  fill_integers(std::vector<std::int32_t>{3, 16}, memory.bytes("slots"));
  EXPECT_EQ(memory.launch(0), Status::illegal_address);
  EXPECT_NE(host_launch_report().find("leaves the operand 'k_pages'"), std::string::npos)
      << host_launch_report();
}

TEST(KvAppend, SeesOneByteTooMany) {
  const KvAppend kernel({.cache = "q4_0", .tokens = 2, .page_size = 16, .pages = 1, .padded = 0});
  KernelMemory memory(kernel, 3);
  fill_integers(std::vector<std::int32_t>{3, 9}, memory.bytes("slots"));
  ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
  ASSERT_TRUE(memory.compare().within) << memory.compare().text;
  const std::size_t row_bytes = memory.bytes("v_pages").size() / 32;  // 16 slots of 2 heads.
  memory.bytes("v_pages")[row_bytes * 8] = std::byte{0};              // Slot 4, which nobody has.
  const Comparison comparison = memory.compare();
  EXPECT_FALSE(comparison.within);
  EXPECT_EQ(comparison.text, "v_pages byte " + std::to_string(row_bytes * 8) + " is 0, the oracle says 255");
}

/// Half a level of the scale, which an fp16 may have rounded by 2^-11, of values up to `largest`.
double half_level(std::string_view cache, double largest) {
  const double levels = cache == "q4_0" ? 8 : 127;
  return largest / levels * (0.5 + (levels + 1) * 0x1p-11);
}

TEST(KvRows, StayWithinHalfALevelOfWhatWasStored) {
  std::vector<float> values(128);
  fill_normal("fp32", 9, 0, std::as_writable_bytes(std::span(values)));
  values[77] = -40;  // A row's largest element is not always positive, nor in its first block.
  for (const char* const cache : {"int8", "q8_0", "q4_0"}) {
    const KvType& type = kv_type_named(cache);
    std::vector<std::byte> row(type.row_bytes(values.size()));
    const float scale = store_row(type, values, 1, row);
    const KvRows rows(type, row, values.size(), {1, std::as_bytes(std::span(&scale, 1))});
    for (std::size_t block = 0; block < 4; ++block) {
      double largest = 0;
      for (std::size_t i = type.row_scales ? 0 : block * 32; i < (type.row_scales ? 128 : block * 32 + 32);
           ++i)
        largest = std::max(largest, std::abs(static_cast<double>(values[i])));
      // q4_0 has no level for the largest element's opposite: it is a whole level off.
      const double off = half_level(cache, largest) * (std::string_view(cache) == "q4_0" ? 2 : 1);
      for (std::size_t i = block * 32; i < block * 32 + 32; ++i)
        ASSERT_LE(std::abs(rows.row(0)[i] - static_cast<double>(values[i])), off)
            << cache << " element " << i;
    }
  }
}

TEST(KvRows, StoreARowOfZerosAsZeros) {
  for (const KvType& type : kv_types) {
    const std::vector<float> zeros(64, 0.0f);
    std::vector<std::byte> row(type.row_bytes(64), std::byte{0xff});
    const float scale = store_row(type, zeros, 1, row);
    const KvRows rows(type, row, 64, {1, std::as_bytes(std::span(&scale, 1))});
    for (const double value : rows.row(0)) ASSERT_EQ(value, 0) << type.name;
  }
}

TEST(KvRows, AreRefusedWhereBlocksDoNotFillThem) {
  EXPECT_THROW(KvAppend({.cache = "q8_0", .head_dim = 80}), std::invalid_argument);
  EXPECT_THROW(KvAppend({.type = "fp32", .cache = "q8_0"}), std::invalid_argument);
  EXPECT_THROW(KvAppend({.tokens = 40, .page_size = 16, .pages = 2}), std::invalid_argument);
  EXPECT_THROW(KvAppend({.cache = "fp8_e4m3", .k_scale = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace drought
