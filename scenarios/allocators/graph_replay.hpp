// A decode step as a captured graph that is replayed for every token, over scratch whose address is baked
// into it, until another request for memory does not fit and the scratch has to go. Whoever gives the
// scratch back must give up the graph as well and capture it again (llama.cpp PR 22155 flushed its pool
// under a live graph: ggml-org/llama.cpp 26738, 26771). `bug` switches that mistake on.
#pragma once

#include <memory>
#include <string>
#include <tuple>

#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class GraphReplay final : public Workload {
 public:
  struct Options {
    std::size_t steps = 6;
    std::size_t scratch_bytes = 64_MiB;
    /// The scratch is allocated and freed inside the capture, so that the graph's memory nodes lend it.
    bool captures_scratch = false;
    std::size_t batch_bytes = 128_MiB;  ///< Asked for once, half way.
    /// none; keeps_graph: the flush gives the scratch back and leaves the graph as it is.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("steps", &Options::steps), key("scratch_bytes", &Options::scratch_bytes),
                        key("captures_scratch", &Options::captures_scratch),
                        key("batch_bytes", &Options::batch_bytes), key("bug", &Options::bug)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn_options[] = {
      {"steps", 1, 8}, {"scratch_bytes", 1_MiB, 64_MiB}, {"batch_bytes", 1_MiB, 512_MiB}};
  static constexpr Drawn drawn{.options = drawn_options};

  /// Throws std::invalid_argument for no steps, scratch or a batch too short or an unknown bug.
  explicit GraphReplay(Options options);
  ~GraphReplay() override;

  void run(Rig& rig) override;

 private:
  struct Step;

  std::unique_ptr<Step> capture(Rig& rig, Stream stream, const Buffer& output) const;
  void serve_batch(Rig& rig, Stream stream, std::unique_ptr<Step>& step) const;
  void flush(Rig& rig, std::unique_ptr<Step>& step) const;

  const Options options_;
};

}  // namespace drought
