#include "harness/device/embedded.hpp"

// Paths come from the build; the assembler reads the files.
#define DROUGHT_EMBED(symbol, path)                                                                      \
  __asm__(                                                                                               \
      ".pushsection .rodata\n"                                                                           \
      ".balign 16\n" #symbol "_begin:\n.incbin \"" path "\"\n" #symbol "_end:\n.byte 0\n.popsection\n"); \
  extern "C" __attribute__((visibility("hidden"))) const char symbol##_begin[], symbol##_end[];

DROUGHT_EMBED(drought_cudart_13, DROUGHT_CUDART_13)
DROUGHT_EMBED(drought_cudart_12, DROUGHT_CUDART_12)
DROUGHT_EMBED(drought_example, DROUGHT_EXAMPLE)

namespace drought {

std::span<const char> embedded_cudart_13() { return {drought_cudart_13_begin, drought_cudart_13_end}; }
std::span<const char> embedded_cudart_12() { return {drought_cudart_12_begin, drought_cudart_12_end}; }
std::span<const char> embedded_example_allocator() { return {drought_example_begin, drought_example_end}; }

}  // namespace drought
