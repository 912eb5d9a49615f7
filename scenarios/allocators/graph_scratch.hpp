// Decoder layers planned by ggml's graph allocator over the chain, batch after batch, as llama.cpp's
// scheduler does: a larger batch makes the plan grow. Refused, it runs the batch that fitted before once
// more, as a server that turns a request away must, and then passes the refusal on.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "allocators/graph_allocator.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class GraphScratch final : public Workload {
 public:
  struct Options {
    std::vector<std::size_t> tokens = {128, 512, 384, 2048};  ///< Of each batch.
    std::size_t layers = 4, hidden = 2048, intermediate = 8192;
    /// So many tokens are a sequence, which brings two rows as inputs: one that is added to the batch at
    /// once, and a state that is kept to the end; 0: none does.
    std::size_t sequence_tokens = 0;
    std::size_t chunk_bytes_max = 0;  ///< The largest buffer that the backend lends; 0: no limit, as on CUDA.
    /// none; frees_first: the old chunks go before the larger ones are asked for, as in ggml.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("tokens", &Options::tokens),
                        key("layers", &Options::layers),
                        key("hidden", &Options::hidden),
                        key("intermediate", &Options::intermediate),
                        key("sequence_tokens", &Options::sequence_tokens),
                        key("chunk_bytes_max", &Options::chunk_bytes_max),
                        key("bug", &Options::bug)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_tokens[] = {"[128]", "[128, 512]", "[512, 128, 2048]",
                                                      "[1, 7, 2048, 3]"};
  static constexpr DrawnOption drawn_options[] = {{"tokens", drawn_tokens},
                                                  {"layers", 1, 6},
                                                  {"hidden", 1, 2048},
                                                  {"intermediate", 1, 8192},
                                                  {"chunk_bytes_max", 0, 64_MiB}};
  static constexpr Drawn drawn{.options = drawn_options, .shapes = true};

  /// Throws std::invalid_argument for an unknown bug or a model of nothing.
  explicit GraphScratch(Options options);

  void run(Rig& rig) override;

 private:
  TensorGraph layers_of(std::size_t tokens) const;
  void execute(Rig& rig, const GraphAllocator& allocator, const TensorGraph& graph) const;

  const Options options_;
};

}  // namespace drought
