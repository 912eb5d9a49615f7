// A kernel reads a buffer that was freed. Declared, the ledger must refuse it by name before the device
// sees it; undeclared, it is what a stale pointer does in production, and only the device can object: the
// context is lost, and whoever goes on must be told so by every later call.
#pragma once

#include <tuple>

#include "harness/memory/interfaces.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class StrayRead final : public Workload {
 public:
  struct Options {
    std::size_t bytes = 64_MiB;  ///< Large enough for a mapping of its own, which ends with the buffer.
    bool declared = true;
    static constexpr auto keys() {
      return std::tuple{key("bytes", &Options::bytes), key("declared", &Options::declared)};
    }
  };
  explicit StrayRead(Options options);
  void run(Rig& rig) override;

 private:
  const Options options_;
};

}  // namespace drought
