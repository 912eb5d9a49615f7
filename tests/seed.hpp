// The one seed of a test run: `drought_tests --seed N`. Tests that draw take it from here, and
// rapidcheck is given it too, so that the command printed for a failing test repeats it exactly.
#pragma once

#include <cstdint>

namespace drought {

/// 1 unless the command line says otherwise.
std::uint64_t test_seed();

}  // namespace drought
