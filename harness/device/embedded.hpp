// Shared libraries that lie inside the executable as bytes, so that one file is all that is carried to
// another machine. The build makes them and puts them in.
#pragma once

#include <span>

namespace drought {

std::span<const char> embedded_cudart_13();
std::span<const char> embedded_cudart_12();
/// allocators/pluggable/example.cpp.
std::span<const char> embedded_example_allocator();

}  // namespace drought
