// Two users of one device, one after the other: the first works through the chain and frees all it had,
// the second then asks the device itself for as much. Whether it gets it depends on who keeps what was
// freed: a cache in the program, which the driver does not know, or the driver's own pool, which it takes
// back when cudaMalloc needs it. A cache that is told to (torch.cuda.empty_cache) gives it back before.
#pragma once

#include <string>
#include <tuple>

#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class Handover final : public Workload {
 public:
  struct Options {
    std::size_t blocks = 8;
    std::size_t block_bytes = 256_MiB;
    std::size_t next_bytes = 2_GiB;  ///< What the second user asks for in one piece.
    std::string next = "engine";     ///< The resource that it asks, one beside the chain.
    bool trims = false;              ///< The first user empties its allocator's cache when it is done.
    static constexpr auto keys() {
      return std::tuple{key("blocks", &Options::blocks), key("block_bytes", &Options::block_bytes),
                        key("next_bytes", &Options::next_bytes), key("next", &Options::next),
                        key("trims", &Options::trims)};
    }
  };
  explicit Handover(Options options) : options_(std::move(options)) {}

  void run(Rig& rig) override;

 private:
  const Options options_;
};

}  // namespace drought
