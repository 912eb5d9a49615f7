// bf16, fp16 and fp8 e4m3 as types of our own, so that host code needs no CUDA header and both compilers
// agree on the bits. Conversion from float rounds to nearest, ties to even; NaN stays NaN. Bit for bit what
// CUDA 13's cuda_bf16.h, cuda_fp16.h and cuda_fp8.h (saturating) answer on the host.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "harness/simt/config.hpp"

namespace drought {

struct bf16 {
  std::uint16_t bits;
};

struct fp16 {
  std::uint16_t bits;
};

/// OCP e4m3: no infinity, largest 448, 0x7f and 0xff are NaN.
struct fp8_e4m3 {
  std::uint8_t bits;
};

DROUGHT_ANYWHERE float to_float(float x) { return x; }

DROUGHT_ANYWHERE float to_float(bf16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

DROUGHT_ANYWHERE float to_float(fp16 x) {
#if defined(__CUDA_ARCH__)
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t exponent = x.bits >> 10 & 0x1fu, mantissa = x.bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
#endif
}

DROUGHT_ANYWHERE float to_float(fp8_e4m3 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x80u) << 24;
  const std::uint32_t exponent = x.bits >> 3 & 0xfu, mantissa = x.bits & 7u;
  if ((x.bits & 0x7fu) == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 120u) << 23 | mantissa << 20);
}

template <typename T>
DROUGHT_ANYWHERE T from_float(float x);

template <>
DROUGHT_ANYWHERE float from_float<float>(float x) {
  return x;
}

template <>
DROUGHT_ANYWHERE bf16 from_float<bf16>(float x) {
#if defined(__CUDA_ARCH__)
  std::uint16_t rounded;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(x));
  return {rounded};
#else
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
#endif
}

template <>
DROUGHT_ANYWHERE fp16 from_float<fp16>(float x) {
#if defined(__CUDA_ARCH__)
  std::uint16_t nearest;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(nearest) : "f"(x));
  return {nearest};
#else
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  std::uint32_t rounded;
  if (magnitude > 0x7f800000u) return {0x7fff};
  if (magnitude >= 0x477ff000u) {  // 65520, halfway between the largest and what would follow it.
    rounded = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // 2^-14: below, one unit is 2^-24, and 2^23 + n rounds to units.
    const float shifted = std::bit_cast<float>(magnitude) * 0x1p24f + 0x1p23f;
    rounded = std::bit_cast<std::uint32_t>(shifted) & 0x7ffu;
  } else {
    rounded = ((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - (112u << 10);
  }
  return {static_cast<std::uint16_t>(sign | rounded)};
#endif
}

/// Saturates: what is beyond 448, infinity included, becomes 448.
template <>
DROUGHT_ANYWHERE fp8_e4m3 from_float<fp8_e4m3>(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
  std::uint32_t rounded;
  if (magnitude > 0x7f800000u) {
    return {0x7f};
  } else if (magnitude >= 0x43e00000u) {  // 448
    rounded = 0x7eu;
  } else if (magnitude < 0x3c800000u) {  // 2^-6: below, one unit is 2^-9.
    const float shifted = std::bit_cast<float>(magnitude) * 0x1p9f + 0x1p23f;
    rounded = std::bit_cast<std::uint32_t>(shifted) & 0xfu;
  } else {
    rounded = ((magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20) - (120u << 3);
  }
  return {static_cast<std::uint8_t>(sign | rounded)};
}

/// The name in scenario files, and the largest relative error of one rounding in the normal range.
template <typename T>
struct NumberTraits;
template <>
struct NumberTraits<float> {
  static constexpr std::string_view name = "fp32";
  static constexpr double unit_roundoff = 0x1p-24;
};
template <>
struct NumberTraits<bf16> {
  static constexpr std::string_view name = "bf16";
  static constexpr double unit_roundoff = 0x1p-8;
};
template <>
struct NumberTraits<fp16> {
  static constexpr std::string_view name = "fp16";
  static constexpr double unit_roundoff = 0x1p-11;
};

}  // namespace drought
