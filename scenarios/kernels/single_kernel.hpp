// Runs one kernel of the catalogue, twice, on memory from the resource under test, and compares its
// outputs with the float64 oracle and with each other.
#pragma once

#include <memory>
#include <string>
#include <tuple>

#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class SingleKernel final : public Workload {
 public:
  struct Options {
    std::string kernel;
    Table shape;             ///< The kernel's own keys.
    std::size_t rounds = 2;  ///< Each with fresh memory and the same inputs; all must give the same bits.
    std::string bug =
        "none";  ///< ignores_launch: goes on when the launch is refused, as unchecked code does.
    static constexpr auto keys() {
      return std::tuple{key("kernel", &Options::kernel), key("shape", &Options::shape),
                        key("rounds", &Options::rounds), key("bug", &Options::bug)};
    }
  };
  /// Makes the kernel, so that a shape that cannot be is told before anything runs: throws UserError with
  /// its place, or std::invalid_argument.
  explicit SingleKernel(Options options);
  void run(Rig& rig) override;

 private:
  const Options options_;
  std::unique_ptr<Kernel> kernel_;
};

}  // namespace drought
