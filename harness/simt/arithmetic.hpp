// Arithmetic that kernels need and that must be fast on both sides.
#pragma once

#include <bit>
#include <cstdint>

#include "harness/simt/config.hpp"

namespace drought {

/// -infinity, without <limits> in device code.
DROUGHT_ANYWHERE float negative_infinity() { return std::bit_cast<float>(0xff800000u); }

/// 2^x within 2^-22 relative, and 0 where the result would be below 2^-126; exact for integers. NaN stays
/// NaN, whatever is above 127 becomes meaningless: softmax asks for x <= 0 only. On the host a Taylor
/// polynomial of 2^f on [-0.5, 0.5] (terms to f^6; the next is 1.2e-7), in a form that g++ vectorises; ex2
/// on the GPU (2 ulp by the CUDA programming guide).
DROUGHT_ANYWHERE float exp2_of(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer.
  const float bounded = x < -126.0f ? -126.0f : x;
  const float rounded = bounded + magic;
  const float f = bounded - (rounded - magic);
  const float polynomial =
      1.0f + f * (0.693147182f +
                  f * (0.240226507f + f * (0.0555041087f + f * (0.00961812911f +
                                                                f * (0.00133335581f + f * 1.54035304e-4f)))));
  const std::uint32_t exponent =
      std::bit_cast<std::uint32_t>(rounded) - std::bit_cast<std::uint32_t>(magic) + 127u;
  const float scaled = polynomial * std::bit_cast<float>(exponent << 23);
  return x < -126.0f ? 0.0f : scaled;
#endif
}

/// Base-2 logarithm, of positive x.
DROUGHT_ANYWHERE float log2_of(float x) {
#if defined(__CUDA_ARCH__)
  return log2f(x);
#else
  return __builtin_log2f(x);
#endif
}

}  // namespace drought
