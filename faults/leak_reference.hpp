// Keeps a lease on a buffer whose owner lets go of it. Nothing is wrong at the call; the memory simply does
// not come back, until its holder ends:
//   registry  a global list, a cache of handles: the end of the run     graph  a captured graph: the same
//   peer      a process that opened the block through IPC: the same
//   error     a traceback that pins its frames: until another call fails and its error takes the place
//   stream    a record of use on the block's stream: until that stream or the device is synchronised
// Whoever promises to have torn everything down must find out, by name, and must not go on as if it had.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "harness/fault/fault.hpp"
#include "harness/memory/buffer.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class LeakReference final : public Fault {
 public:
  struct Options {
    std::string holder = "registry";
    static constexpr auto keys() { return std::tuple{key("holder", &Options::holder)}; }
  };
  /// Throws std::invalid_argument for a holder that is not known.
  explicit LeakReference(Options options) : holder_(std::move(options.holder)) {
    constexpr std::string_view kHolders[] = {"registry", "graph", "peer", "error", "stream"};
    if (std::find(std::begin(kHolders), std::end(kHolders), holder_) == std::end(kHolders))
      throw std::invalid_argument("unknown holder '" + holder_ +
                                  "'; known: registry, graph, peer, error, stream");
  }

  bool can_strike(Site site) const override { return site == Site::release; }
  void strike(Call& call, Scene&) override {
    kept_.push_back({Lease(call.block, "fault:" + holder_), call.block->request.stream});
  }

  bool watches() const override { return holder_ == "error" || holder_ == "stream"; }
  void answered(Call& call, Status status, bool, Scene&) override {
    std::erase_if(kept_, [&](const Kept& kept) {
      if (holder_ == "error") return status != Status::success && status != Status::not_ready;
      const bool all = call.site == Site::cudaDeviceSynchronize;
      return status == Status::success &&
             (all || (call.site == Site::cudaStreamSynchronize && call.stream == kept.stream));
    });
  }
  void release(Scene&) noexcept override { kept_.clear(); }

 private:
  struct Kept {
    Lease lease;
    Stream stream;
  };
  const std::string holder_;
  std::vector<Kept> kept_;
};

}  // namespace drought
