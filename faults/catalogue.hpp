// Every fault, a line each in catalogue.cpp.
#pragma once

#include <span>

#include "harness/scenario/catalogues.hpp"

namespace drought {

std::span<const FaultEntry> fault_catalogue();

}  // namespace drought
