// Shared libraries that lie inside the executable as bytes, so that one file is all that is carried to
// another machine. The build makes them and puts them in.
#pragma once

#include <span>

namespace drought {

std::span<const char> embedded_cudart_13();
std::span<const char> embedded_cudart_12();
/// allocators/pluggable/example.cpp.
std::span<const char> embedded_example_allocator();
/// kernels/pluggable/example.cpp, with its GPU's side in a build with nvcc.
std::span<const char> embedded_example_kernel();

/// A file in memory that holds the bytes; /proc/self/fd/N is its path. The caller closes it. Throws
/// std::system_error.
int embedded_file(const char* title, std::span<const char> bytes);

}  // namespace drought
