// The context is lost: a kernel of its own writes to an address that nobody owns, in front of the struck
// call. The error shows at the next call that synchronises (on a GPU, which may show it at any call, at the
// struck one), and then at every call for ever, as an illegal access does. Imitates any kernel bug of a
// neighbour in the same process (cuML's CI: one illegal address, 1,054 failures in 11 files). Survivable by
// the process that runs the job anew, and by whoever reports the first such error as the last. On a GPU it
// ends the process's context: such a scenario says `isolate = true`.
#pragma once

#include <tuple>

#include "harness/device/cuda_probe.hpp"
#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class ContextLost final : public Fault {
 public:
  struct Options {
    static constexpr auto keys() { return std::tuple<>{}; }
  };
  explicit ContextLost(Options) {}

  // Every device call may be the one after the kernel that went astray.
  bool can_strike(Site site) const override {
    return site != Site::allocate && site != Site::deallocate && site != Site::release;
  }
  bool ends_context() const override { return true; }
  void strike(Call&, Scene& scene) override {
    const CudaTouch touch{.address = 0, .write = true, .waits = true};
    const Operand nowhere{"nowhere", nullptr, 1, Access::write};
    // Refused only where the context is lost already.
    (void)scene.device.launch({.kernel = "fault:context_lost",
                               .grid = {},
                               .block = {},
                               .operands = std::span(&nowhere, 1),
                               .declared = false,
                               .arguments = &touch,
                               .arguments_bytes = sizeof touch,
                               .host = [](const Launch&) { return Status::illegal_address; },
                               .cuda = cuda_touch});
  }
};

}  // namespace drought
