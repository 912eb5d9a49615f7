// Decode attention on scratch from a pool, while the context grows: K and V are written into blocks of the
// pool, attention is queued on them, and both blocks go back to the pool before it has run, as llama.cpp
// does it. Each step's K and V are larger than any idle block, so under a cap the pool must flush while the
// step before is still queued on what it flushes.
//
// The same steps run first on memory without pressure; outputs must have the same bits (and agree with
// the float64 oracle), whatever the pool did meanwhile.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "harness/simt/kernel.hpp"

namespace drought {

class PoolAttention final : public Workload {
 public:
  struct Options {
    std::size_t tokens = 32;  ///< Context of the first step; each step adds as many.
    std::size_t steps = 6;
    Table shape;  ///< The keys of decode_attention, but for seqlens.
    /// The resource beside the chain that has room for every step.
    std::string roomy = "roomy";
    static constexpr auto keys() {
      return std::tuple{key("tokens", &Options::tokens), key("steps", &Options::steps),
                        key("shape", &Options::shape), key("roomy", &Options::roomy)};
    }
  };
  /// Throws std::invalid_argument for no steps or no tokens.
  explicit PoolAttention(Options options);

  /// Records how often the pool flushed ("flushes"). Throws UserError for a shape that cannot be.
  void run(Rig& rig) override;

 private:
  using Outputs = std::vector<std::vector<std::byte>>;
  Outputs run_steps(Rig& rig, Resource& memory) const;
  std::unique_ptr<Kernel> attention_over(const Rig& rig, std::size_t tokens) const;

  const Options options_;
};

}  // namespace drought
