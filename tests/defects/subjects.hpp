// The sound small allocators and workloads of this folder, each with the mistakes that it can be asked to
// make, and the scenario that a sweep strikes.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "harness/scenario/catalogues.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

struct Subject {
  std::string_view name;
  bool is_allocator;
  std::span<const Defect> defects;
  /// The scenario in which it makes the mistake called `defect`; "none" for none.
  std::string scenario(std::string_view defect) const;
};

std::span<const Subject> subjects();

/// The shipped catalogues with the subjects besides.
Catalogues subject_catalogues();

}  // namespace drought
