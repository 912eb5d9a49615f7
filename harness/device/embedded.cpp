#include "harness/device/embedded.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

// Paths come from the build; the assembler reads the files.
#define DROUGHT_EMBED(symbol, path)                                                                      \
  __asm__(                                                                                               \
      ".pushsection .rodata\n"                                                                           \
      ".balign 16\n" #symbol "_begin:\n.incbin \"" path "\"\n" #symbol "_end:\n.byte 0\n.popsection\n"); \
  extern "C" __attribute__((visibility("hidden"))) const char symbol##_begin[], symbol##_end[];

DROUGHT_EMBED(drought_cudart_13, DROUGHT_CUDART_13)
DROUGHT_EMBED(drought_cudart_12, DROUGHT_CUDART_12)
DROUGHT_EMBED(drought_example, DROUGHT_EXAMPLE)
DROUGHT_EMBED(drought_example_kernel, DROUGHT_EXAMPLE_KERNEL)

namespace drought {

std::span<const char> embedded_cudart_13() { return {drought_cudart_13_begin, drought_cudart_13_end}; }
std::span<const char> embedded_cudart_12() { return {drought_cudart_12_begin, drought_cudart_12_end}; }
std::span<const char> embedded_example_allocator() { return {drought_example_begin, drought_example_end}; }
std::span<const char> embedded_example_kernel() {
  return {drought_example_kernel_begin, drought_example_kernel_end};
}

int embedded_file(const char* title, std::span<const char> bytes) {
  const int file = ::memfd_create(title, MFD_CLOEXEC);
  if (file < 0) throw std::system_error(errno, std::generic_category(), "memfd_create");
  for (std::size_t written = 0; written < bytes.size();) {
    const ssize_t count = ::write(file, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int error = errno;
      ::close(file);
      throw std::system_error(error, std::generic_category(), "write");
    }
    written += static_cast<std::size_t>(count);
  }
  return file;
}

}  // namespace drought
