// wgmma for bf16: 64 rows, 16 deep, added up in the registers of a warpgroup. An asm statement must name each
// register, hence the lists; a width is one line below them. For nvcc alone.
// Of each eight columns, thread t of the warpgroup holds those at 2 * (t % 4), in row 16 * (t / 32) + t % 32
// / 4 and in the one eight below (PTX ISA, register fragments of wgmma).
#pragma once

#include <cstdint>

#include "harness/simt/config.hpp"

namespace drought::sm90 {

/// `columns` is a multiple of 8, up to 256.
template <int columns>
struct Multiply;

// clang-format off
#define DROUGHT_SUMS_4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define DROUGHT_SUMS_8(i) DROUGHT_SUMS_4(i), DROUGHT_SUMS_4(i + 4)
#define DROUGHT_SUMS_32(i) \
  DROUGHT_SUMS_8(i), DROUGHT_SUMS_8(i + 8), DROUGHT_SUMS_8(i + 16), DROUGHT_SUMS_8(i + 24)
#define DROUGHT_OUT_32 DROUGHT_SUMS_32(0)
#define DROUGHT_OUT_36 DROUGHT_OUT_32, DROUGHT_SUMS_4(32)
#define DROUGHT_OUT_40 DROUGHT_OUT_32, DROUGHT_SUMS_8(32)
#define DROUGHT_OUT_48 DROUGHT_OUT_40, DROUGHT_SUMS_8(40)
#define DROUGHT_OUT_56 DROUGHT_OUT_48, DROUGHT_SUMS_8(48)
#define DROUGHT_OUT_64 DROUGHT_OUT_32, DROUGHT_SUMS_32(32)
#define DROUGHT_OUT_128 DROUGHT_OUT_64, DROUGHT_SUMS_32(64), DROUGHT_SUMS_32(96)

#define DROUGHT_NAMED_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define DROUGHT_NAMED_36 \
  DROUGHT_NAMED_32 ", " \
  "%32, %33, %34, %35"
#define DROUGHT_NAMED_40 \
  DROUGHT_NAMED_32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39"
#define DROUGHT_NAMED_48 \
  DROUGHT_NAMED_40 ", " \
  "%40, %41, %42, %43, %44, %45, %46, %47"
#define DROUGHT_NAMED_56 \
  DROUGHT_NAMED_48 ", " \
  "%48, %49, %50, %51, %52, %53, %54, %55"
#define DROUGHT_NAMED_64 \
  DROUGHT_NAMED_32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define DROUGHT_NAMED_128 \
  DROUGHT_NAMED_64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

/// `from_shared`: both operands from shared memory, B as columns of contiguous depth. `from_registers`: A
/// from registers, B as rows of contiguous columns. `accumulate` of 0 starts the sums anew. p0 to p5 are the
/// operands that follow the sums.
#define DROUGHT_MULTIPLY(columns, count, p0, p1, p2, p3, p4, p5) \
  template <> \
  struct Multiply<columns> { \
    static DROUGHT_DEVICE void from_shared(float (&sums)[count], std::uint64_t a, std::uint64_t b, \
                                           int accumulate) { \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #p2 ", 0;\n" \
                   "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" DROUGHT_NAMED_##count \
                   "}, %" #p0 ", %" #p1 ", p, 1, 1, 0, 0;\n}\n" \
                   : DROUGHT_OUT_##count : "l"(a), "l"(b), "r"(accumulate)); \
    } \
    static DROUGHT_DEVICE void from_registers(float (&sums)[count], const std::uint32_t* a, std::uint64_t b, \
                                              int accumulate) { \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #p5 ", 0;\n" \
                   "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" DROUGHT_NAMED_##count \
                   "}, {%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 "}, %" #p4 ", p, 1, 1, 1;\n}\n" \
                   : DROUGHT_OUT_##count \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate)); \
    } \
  };

DROUGHT_MULTIPLY(64, 32, 32, 33, 34, 35, 36, 37)
DROUGHT_MULTIPLY(72, 36, 36, 37, 38, 39, 40, 41)
DROUGHT_MULTIPLY(80, 40, 40, 41, 42, 43, 44, 45)
DROUGHT_MULTIPLY(96, 48, 48, 49, 50, 51, 52, 53)
DROUGHT_MULTIPLY(112, 56, 56, 57, 58, 59, 60, 61)
DROUGHT_MULTIPLY(128, 64, 64, 65, 66, 67, 68, 69)
DROUGHT_MULTIPLY(256, 128, 128, 129, 130, 131, 132, 133)
// clang-format on

}  // namespace drought::sm90
