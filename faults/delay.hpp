// The call comes late: its process waits in virtual time while others go on. Imitates a slow driver call, a
// preempted rank, a cudaMalloc that waits for the device; with `rank` in its trigger, a rank that answers
// late. Survivable by everybody: no order of processes may change a result.
#pragma once

#include <stdexcept>
#include <tuple>

#include "harness/fault/fault.hpp"
#include "harness/fault/plan.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Delay final : public Fault {
 public:
  struct Options {
    std::uint64_t steps = 100;  ///< Of the virtual clock, which counts every process's calls.
    static constexpr auto keys() { return std::tuple{key("steps", &Options::steps)}; }
  };
  explicit Delay(Options options) : steps_(options.steps) {
    if (steps_ == 0) throw std::invalid_argument("delay needs steps above 0");
  }

  // What gives back runs in destructors, where a hung run cannot be unwound.
  bool can_strike(Site site) const override { return !gives_back(site); }
  void strike(Call& call, Scene&) override { call.delay_steps += steps_; }

 private:
  const std::uint64_t steps_;
};

}  // namespace drought
