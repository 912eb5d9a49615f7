// What llama.cpp asks its pool for while a prompt goes in, ubatch after ubatch: activations for the
// quantised products, then flash attention's scratch. With a quantised KV cache that scratch is K and V
// of the whole context as f16, so two of its requests grow with every 256 tokens, and a pool that never
// gives back strands a pair of blocks at nearly every step (llama.cpp PR 22158: out of memory at about
// 41,000 tokens on a 16 GB card).
//
// Sizes alone decide the fate of a pool, so this runs in shapes mode; its launches declare every block
// they would use. Defaults: Qwen3.6-35B-A3B at the batch sizes of that report.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class PoolDecode final : public Workload {
 public:
  struct Options {
    std::size_t tokens = 262144;  ///< A multiple of ubatch.
    std::size_t ubatch = 128;
    /// One run for each, on a pool trimmed before it: q4_0, q8_0 or f16. With f16 there is no scratch for K
    /// and V.
    std::vector<std::string> kv_types = {"q4_0"};
    std::size_t kv_layers = 10, heads = 16, kv_heads = 2, head_dim = 256;
    /// Into how many parts the device splits each sequence's keys; 1 needs no dst_tmp. The chip decides.
    std::size_t parallel_blocks = 3;
    /// Per ubatch, each freed before the next: rows * round_up(columns, 512) * 36 / 32 + 128 * 144 of the
    /// model's matrices of 2048, 4096, 8 x 2048 and 8 x 512 columns.
    std::vector<std::size_t> activation_bytes = {313344, 608256, 2377728, 608256};
    /// The resource beside the chain that lends what does not come from the pool; empty: none of it is there.
    std::string model_from;
    std::size_t weights_bytes = 0;
    std::size_t other_bytes = 0;  ///< Recurrent state, compute buffer.
    static constexpr auto keys() {
      return std::tuple{key("tokens", &Options::tokens),
                        key("ubatch", &Options::ubatch),
                        key("kv_types", &Options::kv_types),
                        key("kv_layers", &Options::kv_layers),
                        key("heads", &Options::heads),
                        key("kv_heads", &Options::kv_heads),
                        key("head_dim", &Options::head_dim),
                        key("parallel_blocks", &Options::parallel_blocks),
                        key("activation_bytes", &Options::activation_bytes),
                        key("model_from", &Options::model_from),
                        key("weights_bytes", &Options::weights_bytes),
                        key("other_bytes", &Options::other_bytes)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_types[] = {"['f16']", "['q8_0']", "['q4_0']",
                                                     "['q4_0', 'f16', 'q8_0']"};
  static constexpr std::string_view drawn_tokens[] = {"128", "384", "1024"};
  static constexpr DrawnOption drawn_options[] = {
      {"tokens", drawn_tokens}, {"kv_types", drawn_types}, {"kv_layers", 1, 4}, {"parallel_blocks", 1, 4}};
  static constexpr Drawn drawn{.options = drawn_options, .shapes = true};

  /// Throws std::invalid_argument for figures that cannot be.
  explicit PoolDecode(Options options);

  /// Records, for each KV type, where it ran out of memory (oom_token, oom_n_kv), the most that was borrowed
  /// from the device (peak_bytes, with the model peak_total_bytes), successful grows, flushes, blocks held.
  /// UserError in full mode.
  void run(Rig& rig) override;

 private:
  struct Progress;

  void run_type(Rig& rig, const std::string& kv_type);
  void run_ubatch(Rig& rig, Progress& progress) const;
  void run_attention(Rig& rig, Progress& progress) const;
  Buffer scratch(Rig& rig, Progress& progress, std::size_t bytes, Tag tag) const;

  const Options options_;
};

}  // namespace drought
