// Every allocator, a line each in catalogue.cpp.
#pragma once

#include <span>

#include "harness/scenario/catalogues.hpp"

namespace drought {

std::span<const AllocatorEntry> allocator_catalogue();

}  // namespace drought
