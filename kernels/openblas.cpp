// The host's body of a matrix product: OpenBLAS's sgemm on one thread, so that two runs give the same bits.
// bf16 operands are widened and products rounded here, as the tensor cores that stand behind it do.
#include <dlfcn.h>

#include <cstring>
#include <string>
#include <vector>

#include "harness/simt/needs_library.hpp"
#include "harness/simt/number.hpp"
#include "kernels/linear_arguments.hpp"

namespace drought {
namespace {

// From CBLAS: row-major, as it is, transposed.
constexpr int kRowMajor = 101, kAsItIs = 111, kTransposed = 112;
using Sgemm = void(int order, int transpose_a, int transpose_b, int rows, int columns, int depth, float alpha,
                   const float* a, int a_pitch, const float* b, int b_pitch, float beta, float* c, int pitch);

struct OpenBlas {
  Sgemm* sgemm = nullptr;
  std::string why_not;
};

OpenBlas open() {
  OpenBlas opened;
  void* const library = ::dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  const char* const error = library ? nullptr : ::dlerror();
  if (library) opened.sgemm = reinterpret_cast<Sgemm*>(::dlsym(library, "cblas_sgemm"));
  if (!opened.sgemm)
    opened.why_not = std::string("OpenBLAS cannot be opened: ") + (error ? error : "it has no cblas_sgemm") +
                     " (Debian: libopenblas0-serial)";
  // Absent from a build for one thread.
  using SetThreads = void(int);
  if (auto* const set = library ? ::dlsym(library, "openblas_set_num_threads") : nullptr)
    reinterpret_cast<SetThreads*>(set)(1);
  return opened;
}

const OpenBlas& openblas() {
  static const OpenBlas opened = open();
  return opened;
}

bool is_declared(const Launch& launch, const void* data, std::size_t bytes, Access access) {
  for (const Operand& operand : launch.operands) {
    const auto from = reinterpret_cast<std::uintptr_t>(operand.data),
               at = reinterpret_cast<std::uintptr_t>(data);
    if (at < from || at - from > operand.bytes || bytes > operand.bytes - (at - from)) continue;
    if (operand.access == Access::read_write || operand.access == access) return true;
  }
  return false;
}

/// The matrix as floats: itself, or a copy in `widened`.
const float* as_floats(const void* matrix, std::size_t elements, bool narrow, std::vector<float>& widened) {
  if (!narrow) return static_cast<const float*>(matrix);
  widened.resize(elements);
  const auto* const from = static_cast<const bf16*>(matrix);
  for (std::size_t i = 0; i < elements; ++i) widened[i] = to_float(from[i]);
  return widened.data();
}

}  // namespace

void open_openblas() {
  if (!openblas().sgemm) throw MissingLibrary(openblas().why_not);
}

Status linear_on_host(const Launch& launch) {
  LinearArguments given;
  if (launch.arguments_bytes != sizeof given) return Status::invalid_value;
  std::memcpy(&given, launch.arguments, sizeof given);
  if (!openblas().sgemm) return Status::not_supported;
  const auto rows = static_cast<std::size_t>(given.rows), columns = static_cast<std::size_t>(given.columns);
  const auto depth = static_cast<std::size_t>(given.depth);
  const std::size_t in = given.narrow ? sizeof(bf16) : sizeof(float);
  const std::size_t out = given.narrow_out ? sizeof(bf16) : sizeof(float);
  if (!is_declared(launch, given.x, rows * depth * in, Access::read) ||
      !is_declared(launch, given.weight, columns * depth * in, Access::read) ||
      !is_declared(launch, given.out, rows * columns * out, Access::write))
    return Status::illegal_address;
  // Kept between launches: a launch that is abandoned at a fault leaves nothing behind.
  thread_local std::vector<float> x, weight, product;
  const float* const left = as_floats(given.x, rows * depth, given.narrow, x);
  const float* const right = as_floats(given.weight, columns * depth, given.narrow, weight);
  if (given.narrow_out) product.resize(rows * columns);
  float* const to = given.narrow_out ? product.data() : static_cast<float*>(given.out);
  openblas().sgemm(kRowMajor, kAsItIs, kTransposed, given.rows, given.columns, given.depth, 1.0f, left,
                   given.depth, right, given.depth, 0.0f, to, given.columns);
  if (given.narrow_out)
    for (std::size_t i = 0; i < rows * columns; ++i)
      static_cast<bf16*>(given.out)[i] = from_float<bf16>(product[i]);
  return Status::success;
}

#if !defined(DROUGHT_HAS_CUDA)
void open_cublas() { throw MissingLibrary("this build has no cuda lane, so none of cuBLAS"); }
#endif

}  // namespace drought
