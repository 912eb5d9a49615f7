// Allocates and frees blocks of random size in random order through the chain, as a server's requests
// come and go, and checks that each block still holds what was written to it when it is freed.
#pragma once

#include <cstdint>
#include <tuple>

#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class Churn final : public Workload {
 public:
  struct Options {
    std::size_t allocations = 200;
    std::size_t live_max = 32;  ///< Blocks alive at once.
    std::size_t bytes_min = 1;
    std::size_t bytes_max = 256_KiB;  ///< Sizes are uniform in their logarithm, as traces have them.
    std::size_t streams = 1;          ///< Blocks are used on this many streams in turn.
    std::size_t free_one_in = 3;      ///< How often a free comes first; 0: only when live_max live.
    /// Every so many frees the allocator is handed the same free again, behind the account that would
    /// report it, as a library that keeps a stale pointer does; 0: never.
    std::size_t double_free_every = 0;
    /// Every so many frees the block is used on another stream just before, of which its allocator is told
    /// (PyTorch's record_stream); 0: never.
    std::size_t used_elsewhere_every = 0;
    std::size_t elsewhere_streams = 1;  ///< On how many others, each of which writes a part of the block.
    std::size_t pools = 0;              ///< Private pools, which serve every other block.
    static constexpr auto keys() {
      return std::tuple{key("allocations", &Options::allocations),
                        key("live_max", &Options::live_max),
                        key("bytes_min", &Options::bytes_min),
                        key("bytes_max", &Options::bytes_max),
                        key("pools", &Options::pools),
                        key("streams", &Options::streams),
                        key("free_one_in", &Options::free_one_in),
                        key("double_free_every", &Options::double_free_every),
                        key("used_elsewhere_every", &Options::used_elsewhere_every),
                        key("elsewhere_streams", &Options::elsewhere_streams)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_uses[] = {"0", "0", "0", "1", "3"};
  static constexpr DrawnOption drawn_options[] = {
      {"allocations", 1, 150}, {"live_max", 1, 24},   {"bytes_max", 1, 8_MiB},
      {"streams", 1, 4},       {"free_one_in", 0, 4}, {"used_elsewhere_every", drawn_uses}};
  static constexpr Drawn drawn{.options = drawn_options};

  /// Throws std::invalid_argument for sizes that contradict each other.
  explicit Churn(Options options);

  void run(Rig& rig) override;

 private:
  const Options options_;
};

}  // namespace drought
