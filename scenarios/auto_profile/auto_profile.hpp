// LightLLM's two-pass auto-profile (PR 1273), done right: run the stresses beside a small KV cache, measure,
// size the real one by what was measured, tear everything down, build it again at that size with a canary
// beside it, and run the stresses once more. A lack of memory in there shrinks the size by 5 % and tries
// again, four attempts at most; then one diagnostic names every knob.
//
// What goes wrong in it is held against it: a leak found at a teardown is fatal at once and by name, on
// every attempt; nothing of a failed attempt lives in the next; all ranks of a tensor-parallel group take
// the same branch.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/auto_profile/server.hpp"
#include "scenarios/models/model.hpp"

namespace drought {

class AutoProfile final : public Workload {
 public:
  struct Options {
    std::string model = "qwen2.5-vl-7b";
    std::size_t batch_max_tokens = 16384;
    std::size_t graph_max_batch_size = 256;
    std::size_t request_max_tokens =
        512;  ///< Width of the request table; a decode stress caches no more of one.
    std::size_t decode_splits_max = 128;  ///< Parts of a sequence in a decode kernel; fewer compute sooner.
    double mem_fraction = 0.95;
    std::size_t retries = 3;
    std::size_t canary_bytes = 256_MiB;
    std::uint64_t max_total_tokens = 0;    ///< Not 0: this size, without a probe or a rebuild.
    std::size_t load_transient_bytes = 0;  ///< Lives beside the weights while they are loaded.
    std::string visual;                    ///< A model whose tower another process serves; "": none.
    std::size_t visual_patches = 65536;    ///< Of its worst case: 16,384 tokens of 4 patches.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("model", &Options::model),
                        key("batch_max_tokens", &Options::batch_max_tokens),
                        key("graph_max_batch_size", &Options::graph_max_batch_size),
                        key("request_max_tokens", &Options::request_max_tokens),
                        key("decode_splits_max", &Options::decode_splits_max),
                        key("mem_fraction", &Options::mem_fraction),
                        key("retries", &Options::retries),
                        key("canary_bytes", &Options::canary_bytes),
                        key("max_total_tokens", &Options::max_total_tokens),
                        key("load_transient_bytes", &Options::load_transient_bytes),
                        key("visual", &Options::visual),
                        key("visual_patches", &Options::visual_patches),
                        key("bug", &Options::bug)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_models[] = {"'tiny'"};
  static constexpr DrawnOption drawn_options[] = {
      {"model", drawn_models},       {"batch_max_tokens", 1, 64},  {"graph_max_batch_size", 1, 8},
      {"request_max_tokens", 1, 64}, {"decode_splits_max", 1, 4},  {"retries", 0, 3},
      {"canary_bytes", 0, 1_MiB},    {"max_total_tokens", 0, 4096}};
  static constexpr Drawn drawn{.options = drawn_options};

  /// Throws std::invalid_argument for options that cannot be.
  explicit AutoProfile(Options options);
  /// One simulated process for each device of the rig.
  void run(Rig& rig) override;

 private:
  const Options options_;
  const Model& model_;
};

}  // namespace drought
