// From a diagnosis back to a scenario: the smallest script of steps that comes to the same shortage with
// the same figures. What the figures do not tell is left out or, where something must stand there, said
// in a comment.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "harness/diagnose/diagnosis.hpp"

namespace drought {

/// The text of a scenario file, or none where there is nothing to reproduce: no shortage, or no decision.
/// `told_by` names the file that the figures come from.
std::optional<std::string> reproduction(const Figures& figures, const Diagnosis& diagnosis,
                                        std::string_view told_by);

}  // namespace drought
