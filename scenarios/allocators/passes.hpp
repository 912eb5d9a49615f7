// Passes over a working set in order, as layer after layer of a model is used for every token. On managed
// memory larger than the device this is the worst order for a cache that lets the least recently used page
// go: every page has gone when its turn comes again, so a step costs the whole working set over the link.
#pragma once

#include <tuple>

#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class Passes final : public Workload {
 public:
  struct Options {
    std::size_t layers = 16;
    std::size_t layer_bytes = 64_MiB;
    std::size_t passes = 4;
    static constexpr auto keys() {
      return std::tuple{key("layers", &Options::layers), key("layer_bytes", &Options::layer_bytes),
                        key("passes", &Options::passes)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn_options[] = {
      {"layers", 1, 16}, {"layer_bytes", 1, 64_MiB}, {"passes", 1, 4}};
  static constexpr Drawn drawn{.options = drawn_options};

  /// Throws std::invalid_argument for a count or size of 0.
  explicit Passes(Options options);

  /// Decides faulted_mib, evicted_mib and remote_mib where the device can tell.
  void run(Rig& rig) override;

 private:
  const Options options_;
};

}  // namespace drought
