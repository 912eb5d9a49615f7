// Our number types against CUDA's headers, bit for bit, where this build has them; and against what their
// formats say, everywhere.
#include "harness/simt/number.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "harness/simt/arithmetic.hpp"

#if __has_include(<cuda_bf16.h>) && __has_include(<cuda_fp8.h>)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#define DROUGHT_HAS_CUDA_NUMBERS 1
#endif

namespace drought {
namespace {

/// Floats of every exponent and sign whose mantissas lie on, just below and just above every tie of every
/// narrow format: mantissa bits 10 to 22 in all patterns, the bits below as 0, 1, half, just less than all.
template <typename Visit>
void for_floats_near_ties(Visit visit) {
  for (std::uint32_t high = 0; high < 1u << 16; ++high)
    for (const std::uint32_t low : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x2000u, 0x3000u, 0x3001u,
                                    0x7fffu, 0x8000u, 0x8001u, 0xf000u, 0xffffu})
      visit(std::bit_cast<float>(high << 16 | low));
}

TEST(NumberTypes, ComeBackFromFloatForEveryPatternThatIsNotNaN) {
  for (std::uint32_t bits = 0; bits < 1u << 16; ++bits) {
    const bf16 wide{static_cast<std::uint16_t>(bits)};
    const fp16 half{static_cast<std::uint16_t>(bits)};
    const fp8_e4m3 narrow{static_cast<std::uint8_t>(bits)};
    if (!std::isnan(to_float(wide))) {
      ASSERT_EQ(from_float<bf16>(to_float(wide)).bits, wide.bits);
    }
    if (!std::isnan(to_float(half))) {
      ASSERT_EQ(from_float<fp16>(to_float(half)).bits, half.bits);
    }
    if (!std::isnan(to_float(narrow))) {
      ASSERT_EQ(from_float<fp8_e4m3>(to_float(narrow)).bits, narrow.bits);
    }
  }
}

TEST(NumberTypes, RoundTiesToEvenAndKeepNaN) {
  EXPECT_EQ(from_float<bf16>(1.0f + 0x1p-8f).bits, from_float<bf16>(1.0f).bits);
  EXPECT_EQ(from_float<bf16>(1.0f + 0x3p-8f).bits, from_float<bf16>(1.0f + 0x4p-8f).bits);
  EXPECT_EQ(from_float<fp16>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(from_float<fp16>(0x1p-25f).bits, 0);
  EXPECT_EQ(from_float<fp8_e4m3>(1e9f).bits, 0x7e);
  EXPECT_EQ(to_float(fp8_e4m3{0x7e}), 448.0f);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(to_float(from_float<bf16>(nan))));
  EXPECT_TRUE(std::isnan(to_float(from_float<fp16>(nan))));
  EXPECT_TRUE(std::isnan(to_float(from_float<fp8_e4m3>(nan))));
}

TEST(NumberTypes, HaveTheBitsThatCudasHeadersGive) {
#if defined(DROUGHT_HAS_CUDA_NUMBERS)
  for_floats_near_ties([](float x) {
    ASSERT_EQ(from_float<bf16>(x).bits, __nv_bfloat16_raw(__float2bfloat16_rn(x)).x) << std::hexfloat << x;
    ASSERT_EQ(from_float<fp16>(x).bits, __half_raw(__float2half_rn(x)).x) << std::hexfloat << x;
    ASSERT_EQ(from_float<fp8_e4m3>(x).bits, __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3))
        << std::hexfloat << x;
  });
  for (std::uint32_t bits = 0; bits < 1u << 16; ++bits) {
    __nv_bfloat16_raw wide;
    __half_raw half;
    wide.x = half.x = static_cast<unsigned short>(bits);
    const auto same = [](float a, float b) {
      return a == b ? std::signbit(a) == std::signbit(b) : a != a && b != b;
    };
    ASSERT_TRUE(same(to_float(bf16{wide.x}), __bfloat162float(wide))) << bits;
    ASSERT_TRUE(same(to_float(fp16{half.x}), __half2float(half))) << bits;
    const auto narrow = static_cast<std::uint8_t>(bits);
    const __half_raw of_fp8 = __nv_cvt_fp8_to_halfraw(narrow, __NV_E4M3);
    ASSERT_TRUE(same(to_float(fp8_e4m3{narrow}), __half2float(of_fp8))) << bits;
  }
#else
  GTEST_SKIP() << "this build has no CUDA headers to compare with";
#endif
}

TEST(Exp2, IsWithinTwoToTheMinus22AndExactForIntegers) {
  for (int i = -126; i <= 0; ++i) ASSERT_EQ(exp2_of(static_cast<float>(i)), std::ldexp(1.0f, i));
  for (float x = -126.0f; x <= 0.0f; x += 0.00037f) {
    const double exact = std::exp2(static_cast<double>(x));
    ASSERT_LE(std::abs(exp2_of(x) - exact), exact * 0x1p-22) << x;
  }
  EXPECT_EQ(exp2_of(-200.0f), 0.0f);
  EXPECT_EQ(exp2_of(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_TRUE(std::isnan(exp2_of(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace drought
