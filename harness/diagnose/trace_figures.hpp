// The figures of a recorded trace: at its last out of memory or, where none was recorded, at its end.
#pragma once

#include "harness/diagnose/figures.hpp"
#include "harness/trace/trace.hpp"

namespace drought {

Figures figures_of(const Trace& trace);

}  // namespace drought
