// A user's allocator as PyTorch's pluggable allocator takes it: two C functions in a shared library that
// call CUDA's runtime. example_alloc is the one of PyTorch's documentation in outline, a cudaMalloc each.
// The others have one defect each, as such libraries have had; scenarios and tests that use them must
// catch it. Written against the runtime's own declarations, which a build without CUDA does not have.
#include <sys/types.h>

#include <cstddef>
#include <map>
#include <stdexcept>

extern "C" {

int cudaMalloc(void** out, std::size_t bytes);
int cudaFree(void* block);

void* example_alloc(ssize_t bytes, int, void*) {
  void* block = nullptr;
  return cudaMalloc(&block, static_cast<std::size_t>(bytes)) == 0 ? block : nullptr;
}
void example_free(void* block, ssize_t, int, void*) { cudaFree(block); }

/// Loses the header that it has already got when the block itself is refused.
void* leaky_alloc(ssize_t bytes, int device, void* stream);
void leaky_free(void* block, ssize_t bytes, int device, void* stream);

/// Answers a lack of memory with an exception, which PyTorch would let through.
void* throwing_alloc(ssize_t bytes, int device, void* stream) {
  if (void* const block = example_alloc(bytes, device, stream)) return block;
  throw std::runtime_error("throwing_alloc has no memory");
}

/// Answers null at every seventh call although the memory is there, and forgets the block.
void* forgetful_alloc(ssize_t bytes, int device, void* stream) {
  static int calls = 0;
  void* const block = example_alloc(bytes, device, stream);
  return ++calls % 7 == 0 ? nullptr : block;
}

/// Does not look at what cudaMalloc answers, and gives out what its variable held before.
void* careless_alloc(ssize_t bytes, int, void*) {
  static char* last = reinterpret_cast<char*>(1 << 20);
  void* block = nullptr;
  if (cudaMalloc(&block, static_cast<std::size_t>(bytes)) == 0) last = static_cast<char*>(block);
  return last;
}

void throwing_free(void* block, ssize_t, int, void*) {
  cudaFree(block);
  throw std::runtime_error("throwing_free does not like it");
}

}  // extern "C"

namespace {

std::map<void*, void*> headers;

}  // namespace

void* leaky_alloc(ssize_t bytes, int, void*) {
  void *header = nullptr, *block = nullptr;
  if (cudaMalloc(&header, 512) != 0) return nullptr;
  if (cudaMalloc(&block, static_cast<std::size_t>(bytes)) != 0) return nullptr;
  headers[block] = header;
  return block;
}

void leaky_free(void* block, ssize_t, int, void*) {
  cudaFree(headers[block]);
  headers.erase(block);
  cudaFree(block);
}
