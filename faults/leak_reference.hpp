// Keeps a lease on a buffer whose owner lets go of it, as a traceback, a captured graph or a registry
// does in production. Nothing is wrong at the call; the memory simply does not come back. Whoever
// promises to have torn everything down must find out, by name, and must not go on as if it had.
#pragma once

#include <tuple>
#include <vector>

#include "harness/fault/fault.hpp"
#include "harness/memory/buffer.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class LeakReference final : public Fault {
 public:
  struct Options {
    static constexpr auto keys() { return std::tuple<>{}; }
  };
  explicit LeakReference(Options) {}

  bool can_strike(Site site) const override { return site == Site::release; }
  void strike(Call& call, Scene&) override { kept_.emplace_back(call.block, "fault:leak_reference"); }
  void release(Scene&) noexcept override { kept_.clear(); }

 private:
  std::vector<Lease> kept_;
};

}  // namespace drought
