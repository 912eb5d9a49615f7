// Runs device work on the host so that its illegal address ends the work and not the process: the
// SIGSEGV or SIGBUS is taken on an alternate stack, the fiber that the work runs on is abandoned, and
// the caller gets the answer that CUDA would give.
//
// A fault outside such work keeps its meaning: whoever handled the signal before still gets it, so
// that a bug of the harness itself crashes as any bug does.
#pragma once

#include <type_traits>

#include "harness/device/status.hpp"

namespace drought {

/// What `work(context)` answers, or illegal_address when it touched memory that is not there. Its
/// frames are then left without running destructors, so it owns nothing. Exceptions pass through.
Status survive_fault(Status (*work)(void*), void* context);

template <typename Work>
Status survive_fault(Work&& work) {
  using Called = std::remove_reference_t<Work>;
  return survive_fault([](void* context) -> Status { return (*static_cast<Called*>(context))(); }, &work);
}

}  // namespace drought
