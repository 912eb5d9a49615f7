// A process that may touch only some layers of a model file, as antirez/ds4's distributed workers do: it
// installs the spans of its layers, offers every way of resolving an offset the same requests, reads what
// it was granted, and takes it all down. The ledger's own map says what each answer should have been.
//
// In full work the file has contents, every read is compared with them, and a kernel may run on the
// pointers that were granted.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/span_cover/partial_map.hpp"

namespace drought {

class SpanMapWorkload final : public Workload {
 public:
  struct Options {
    std::string model = LayoutOptions().model;  ///< Or "small": a few layers that feed `kernel`.
    std::vector<std::string> order = LayoutOptions().order;
    std::size_t header_bytes = LayoutOptions().header_bytes;
    std::string layers = "21:output";
    std::string next_layers;         ///< Installed over the first slice afterwards; empty: nothing is.
    std::vector<std::string> paths;  ///< Tried one by one, then all in the resolver's order. Empty: all.
    std::size_t random_requests = 64;
    std::size_t reads = 3;  ///< Granted tensors that are read on each path.
    std::size_t stage_bytes = 2_GiB;
    std::size_t arena_chunk_bytes = WeightArena::Options().chunk_bytes;
    std::size_t arena_bytes_max = WeightArena::Options().bytes_max;
    bool copies_unregistered = true;
    std::size_t small_layers = 6;
    std::string kernel;        ///< Of the small model: its inputs are the tensors of a layer.
    Table shape;               ///< The kernel's own keys.
    std::string bug = "none";  ///< MapDefects::named.
    std::string unguarded;
    static constexpr auto keys() {
      return std::tuple{key("model", &Options::model),
                        key("order", &Options::order),
                        key("header_bytes", &Options::header_bytes),
                        key("layers", &Options::layers),
                        key("next_layers", &Options::next_layers),
                        key("paths", &Options::paths),
                        key("random_requests", &Options::random_requests),
                        key("reads", &Options::reads),
                        key("stage_bytes", &Options::stage_bytes),
                        key("arena_chunk_bytes", &Options::arena_chunk_bytes),
                        key("arena_bytes_max", &Options::arena_bytes_max),
                        key("copies_unregistered", &Options::copies_unregistered),
                        key("small_layers", &Options::small_layers),
                        key("kernel", &Options::kernel),
                        key("shape", &Options::shape),
                        key("bug", &Options::bug),
                        key("unguarded", &Options::unguarded)};
    }
  };
  /// Throws std::invalid_argument for an unknown path, bug, model or slice.
  explicit SpanMapWorkload(Options options);

  void run(Rig& rig) override;

 private:
  const Options options_;
  std::vector<MapPath> paths_;
  MapDefects defects_;
};

}  // namespace drought
