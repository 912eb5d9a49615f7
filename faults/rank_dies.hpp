// The process that makes the call is killed at it, as by the kernel's OOM killer: no exception handler of
// its own runs, its memory goes back, and those who wait for it in a collective find its socket closed.
// Survivable: the others must neither hang nor go on as if it were there; the job ends with an error that
// names who was lost.
#pragma once

#include <tuple>

#include "harness/fault/fault.hpp"
#include "harness/fault/plan.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class RankDies final : public Fault {
 public:
  struct Options {
    static constexpr auto keys() { return std::tuple<>{}; }
  };
  explicit RankDies(Options) {}

  // What gives back runs in destructors, which an end in their midst cannot unwind.
  bool can_strike(Site site) const override { return !gives_back(site); }
  void strike(Call& call, Scene&) override { call.kills_process = true; }
};

}  // namespace drought
