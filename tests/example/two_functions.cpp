// The allocator of this project as a library with PyTorch's two functions, which drought runs unmodified and
// without a GPU. The runtime's functions are declared here, so that no CUDA is needed to build it.
#include <sys/types.h>

#include <cstddef>

extern "C" {

int cudaMalloc(void** out, std::size_t bytes);
int cudaFree(void* block);

void* pool_alloc(ssize_t bytes, int, void*) {
  void* block = nullptr;
  return cudaMalloc(&block, static_cast<std::size_t>(bytes)) == 0 ? block : nullptr;
}
void pool_free(void* block, ssize_t, int, void*) { cudaFree(block); }

}  // extern "C"
