/* What a shared library offers so that drought runs its kernel: C functions whose names begin with a prefix of
 * the user's choice, here P. Plain C, and no more than this file is needed to write one.
 *
 *   nvcc -shared -Xcompiler -fPIC -o mine.so mine.cu        (CUDA's runtime in it, which is nvcc's default)
 *
 *   [workload]
 *   kind   = "single_kernel"
 *   kernel = "shared_object"
 *   shape  = { library = "mine.so", prefix = "P", sizes = [4096] }
 *
 * All memory comes from drought: no function below may allocate on the device. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { DROUGHT_PARTS_MAX = 16, DROUGHT_SIZES_MAX = 8 };
enum DroughtRole { DROUGHT_INPUT = 0, DROUGHT_OUTPUT = 1, DROUGHT_WORKSPACE = 2 };
enum DroughtType { DROUGHT_FP32 = 0, DROUGHT_BF16 = 1, DROUGHT_INT32 = 2 };

/* What the scenario's `sizes` says. */
struct DroughtSizes {
  uint64_t value[DROUGHT_SIZES_MAX];
  uint32_t count;
};

struct DroughtPart {
  const char* name; /* Of static storage. */
  uint64_t elements;
  uint32_t type; /* DroughtType; an output is no INT32. */
  uint32_t role; /* DroughtRole */
};

/* int P_plan(const struct DroughtSizes*, struct DroughtPart* parts)
 *   Writes at most DROUGHT_PARTS_MAX parts and answers their number; 0: no kernel has such sizes. */
typedef int DroughtPlan(const struct DroughtSizes*, struct DroughtPart* parts);

/* int P_host(const struct DroughtSizes*, void* const* parts)
 *   Computes, on this machine, with parts in the plan's order. Answers 0 or a cudaError_t. */
typedef int DroughtHost(const struct DroughtSizes*, void* const* parts);

/* int P_cuda(const struct DroughtSizes*, void* const* parts, void* stream)      may be absent
 *   Enqueues on the cudaStream_t and answers what the launch answered. */
typedef int DroughtCuda(const struct DroughtSizes*, void* const* parts, void* stream);

/* void P_oracle(const struct DroughtSizes*, const void* const* parts, uint32_t output, double* expected,
 *               double* tolerance)
 *   What part `output` must hold, element by element, and how far from it a right kernel may be. The parts
 *   are inputs as the host has them; others are null. */
typedef void DroughtOracle(const struct DroughtSizes*, const void* const* parts, uint32_t output,
                           double* expected, double* tolerance);

/* void P_fill(const struct DroughtSizes*, uint32_t part, uint64_t seed, void* out)      may be absent
 *   Writes an input. Absent: numbers near N(0, 1), which no INT32 input can do with. */
typedef void DroughtFill(const struct DroughtSizes*, uint32_t part, uint64_t seed, void* out);

#ifdef __cplusplus
}
#endif
