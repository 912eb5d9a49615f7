// No memory: the call is refused before anything happened, with cudaErrorMemoryAllocation or, at a
// resource, OutOfMemory. Imitates a device that somebody else filled between two calls. Whoever
// allocates must give back what it took for the failed request, and may go on or report it.
#pragma once

#include <algorithm>
#include <tuple>

#include "harness/fault/fault.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class OutOfMemoryFault final : public Fault {
 public:
  struct Options {
    static constexpr auto keys() { return std::tuple<>{}; }
  };
  explicit OutOfMemoryFault(Options) {}

  bool can_strike(Site site) const override {
    const auto errors = documented_errors(site);
    return std::find(errors.begin(), errors.end(), Status::memory_allocation) != errors.end();
  }
  void strike(Call& call, Scene&) override { call.refused = Status::memory_allocation; }
};

}  // namespace drought
