// Whether a trigger can strike at all, told before anything runs. A condition that rules out another, a
// name that nothing has, a count that its parts never come to: each would make a run that tests nothing.
// Only what follows from the trigger itself is refused; the rest shows as a fault that never struck.
#pragma once

#include <string>

#include "harness/fault/fault.hpp"
#include "harness/fault/trigger.hpp"

namespace drought {

/// Throws TriggerMistake, placed at the part that cannot be, unless some call could be struck by `fault`
/// (called `kind` in the message).
void require_reachable(const Trigger::Options& when, const Fault& fault, const std::string& kind);

}  // namespace drought
