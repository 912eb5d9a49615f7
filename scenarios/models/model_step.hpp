// A whole model, run as a server runs it: weights, an image through its tower, a prompt through the decoder,
// then decode batches over a paged cache, each from a captured graph where that is asked for. Every byte
// comes from the resource under test.
//
// In full work everything is computed and judged: each operation by its float64 oracle, two prefills by their
// bits, a graph's replay by the bits of the same batch run eagerly, and what prompts and decode steps end in
// by the whole model in float64. In shapes work the same operations run with the same buffers at any size,
// and also those of models that have parts which are planned and not computed.
#pragma once

#include <cstddef>
#include <string>
#include <tuple>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/models/model.hpp"

namespace drought {

class ModelStep final : public Workload {
 public:
  struct Options {
    std::string model = "tiny";
    std::string config;      ///< A config.json in place of `model`.
    std::size_t layers = 0;  ///< Of the decoder and at most of the tower; 0: all.
    std::size_t ranks = 1;   ///< Of a tensor-parallel group of which one is run.
    std::size_t batch_max_tokens =
        24;  ///< Of the first sequence's prompt; each further one is a token shorter.
    std::size_t sequences = 2, decode_steps = 3;
    std::vector<std::size_t> decode_batches;  ///< Taken in turn; empty: all sequences.
    std::size_t page_size = 16, splits = 1;
    std::size_t image_patches = 0;  ///< Of an image at the start of the first prompt; 0: none.
    std::size_t top_k = 20;
    std::size_t library_workspace_bytes = 32_MiB;
    bool captures = false;  ///< Decode batches are graphs, one for each size.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("model", &Options::model),
                        key("config", &Options::config),
                        key("layers", &Options::layers),
                        key("ranks", &Options::ranks),
                        key("batch_max_tokens", &Options::batch_max_tokens),
                        key("sequences", &Options::sequences),
                        key("decode_steps", &Options::decode_steps),
                        key("decode_batches", &Options::decode_batches),
                        key("page_size", &Options::page_size),
                        key("splits", &Options::splits),
                        key("image_patches", &Options::image_patches),
                        key("top_k", &Options::top_k),
                        key("library_workspace_bytes", &Options::library_workspace_bytes),
                        key("captures", &Options::captures),
                        key("bug", &Options::bug)};
    }
  };

  /// Throws std::invalid_argument for options that cannot be.
  explicit ModelStep(Options options);
  /// Throws UserError when full work is asked of a model that is planned only.
  void run(Rig& rig) override;

 private:
  const Options options_;
  Model model_;
};

}  // namespace drought
