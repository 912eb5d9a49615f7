// The GPU's body of a matrix product: cuBLAS, opened at run time. It works in the workspace that the launch
// declares: cublasSetStream puts cuBLAS's own back, so the workspace is set after it at every launch. The
// handle is made once a process, outside any capture, and its own memory is the library's, not the test's.
#include <cublas_v2.h>
#include <dlfcn.h>

#include <cstring>
#include <string>

#include "harness/simt/needs_library.hpp"
#include "kernels/linear_arguments.hpp"

namespace drought {
namespace {

// cublasGemmEx, of which the header has two in C++.
using Gemm = cublasStatus_t(cublasHandle_t, cublasOperation_t, cublasOperation_t, int rows, int columns,
                            int depth, const void* alpha, const void* a, cudaDataType, int a_pitch,
                            const void* b, cudaDataType, int b_pitch, const void* beta, void* c, cudaDataType,
                            int pitch, cublasComputeType_t, cublasGemmAlgo_t);

struct Cublas {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
  decltype(&cublasSetPointerMode_v2) set_pointer_mode = nullptr;
  decltype(&cublasSetMathMode) set_math_mode = nullptr;
  Gemm* gemm = nullptr;
  cublasHandle_t handle = nullptr;
  std::string why_not;
};

template <typename Function>
bool fetch(void* library, const char* symbol, Function& out) {
  out = reinterpret_cast<Function>(::dlsym(library, symbol));
  return out != nullptr;
}

Cublas open() {
  Cublas opened;
  void* library = nullptr;
  for (const char* const name : {"libcublas.so.13", "libcublas.so.12"})
    if (!library) library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* const error = ::dlerror();
    opened.why_not = std::string("cuBLAS cannot be opened: ") + (error ? error : "no libcublas");
    return opened;
  }
  const bool whole = fetch(library, "cublasCreate_v2", opened.create) &&
                     fetch(library, "cublasSetStream_v2", opened.set_stream) &&
                     fetch(library, "cublasSetWorkspace_v2", opened.set_workspace) &&
                     fetch(library, "cublasSetPointerMode_v2", opened.set_pointer_mode) &&
                     fetch(library, "cublasSetMathMode", opened.set_math_mode) &&
                     fetch(library, "cublasGemmEx", opened.gemm);
  if (!whole) {
    opened.why_not = "the cuBLAS that is here lacks a function of version 11.2 or later";
    return opened;
  }
  cublasStatus_t status = opened.create(&opened.handle);
  // A product that is split along its depth would else be added up in bf16.
  if (status == CUBLAS_STATUS_SUCCESS)
    status = opened.set_math_mode(opened.handle, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
  if (status != CUBLAS_STATUS_SUCCESS) {
    opened.handle = nullptr;
    opened.why_not = "cuBLAS answered " + std::to_string(static_cast<int>(status)) + " for a handle";
  }
  return opened;
}

const Cublas& cublas() {
  static const Cublas opened = open();
  return opened;
}

Status as_status(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return Status::success;
    case CUBLAS_STATUS_ALLOC_FAILED:
      return Status::memory_allocation;
    case CUBLAS_STATUS_INVALID_VALUE:
      return Status::invalid_value;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return Status::not_supported;
    default:
      return Status::launch_failure;
  }
}

}  // namespace

void open_cublas() {
  if (!cublas().handle) throw MissingLibrary(cublas().why_not);
}

Status linear_on_cuda(const Launch& launch, void* stream) {
  LinearArguments given;
  if (launch.arguments_bytes != sizeof given) return Status::invalid_value;
  std::memcpy(&given, launch.arguments, sizeof given);
  const Cublas& library = cublas();
  if (!library.handle) return Status::not_supported;
  cublasStatus_t status = library.set_stream(library.handle, static_cast<cudaStream_t>(stream));
  if (status == CUBLAS_STATUS_SUCCESS)
    status = library.set_workspace(library.handle, given.workspace, given.workspace_bytes);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = library.set_pointer_mode(library.handle, CUBLAS_POINTER_MODE_HOST);
  if (status != CUBLAS_STATUS_SUCCESS) return as_status(status);
  const float one = 1.0f, zero = 0.0f;
  const cudaDataType in = given.narrow ? CUDA_R_16BF : CUDA_R_32F;
  const cudaDataType out = given.narrow_out ? CUDA_R_16BF : CUDA_R_32F;
  // Column-major, as cuBLAS has it, the matrices are transposed: out^T = weight * x^T.
  status = library.gemm(library.handle, CUBLAS_OP_T, CUBLAS_OP_N, given.columns, given.rows, given.depth,
                        &one, given.weight, in, given.depth, given.x, in, given.depth, &zero, given.out, out,
                        given.columns, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  return as_status(status);
}

}  // namespace drought
