// One rank of a language-model server, as far as its memory goes: weights, KV cache, request table,
// attention backend, padded request, captured graphs, canary, and the two stresses that show whether the
// rest of a forward still fits beside them.
//
// It is built in the order in which each part needs the one before, and torn down in the reverse: graphs
// hold addresses of everything, tables and backends index the cache. Whoever uses memory that another part
// owns holds a lease under its own name.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/auto_profile/attention_pass.hpp"
#include "scenarios/auto_profile/kv_cache.hpp"
#include "scenarios/auto_profile/peak_meter.hpp"
#include "scenarios/models/model.hpp"

namespace drought {

/// A stress did not fit. Says which knob to turn, and nests the error that came.
class StressFailed : public Fatal {
 public:
  using Fatal::Fatal;
};

/// Historic mistakes, switched on by name.
struct ServerBugs {
  bool graph_kept = false;         ///< Graphs survive the teardown.
  bool canary_kept = false;        ///< So does the canary.
  bool oom_rewrapped = false;      ///< A stress reports a lack of memory as something else.
  bool no_padded_request = false;  ///< A rebuild leaves the padded request as it was.
};

class Server {
 public:
  struct Limits {
    std::size_t batch_max_tokens = 0, graph_max_batch_size = 0, request_max_tokens = 0, canary_bytes = 0;
    std::size_t decode_splits_max = 0;
  };

  /// `rig` and `model` outlive this.
  Server(Rig& rig, int rank, const Model& model, Limits limits, ServerBugs bugs);

  /// The weights; `transient_bytes` more live while they are loaded. Throws what the resource throws.
  void load(std::size_t transient_bytes);
  /// Everything that depends on the cache's size. Throws what the resource throws, DeviceError, or Fatal
  /// when `tokens` do not hold one full prefill and a decode batch.
  void build(std::uint64_t tokens);
  /// Allocates the canary and writes its pattern.
  void place_canary();
  /// Fails by comparison (exact_output) when the pattern was written over. Reads it in full mode only.
  void verify_canary();
  /// A full prefill, then a decode batch of each captured size with sampling. Throws StressFailed for a
  /// lack of memory, else what came. Answers a digest of all outputs' bits.
  std::uint64_t stress();
  /// Lets go of all that build() and place_canary() made.
  void teardown() noexcept;

  PeakMeter& meter() { return meter_; }
  /// Every tag but the weights': nothing under them may outlive a teardown.
  static std::vector<Tag> torn_down_tags();
  /// Keeps the cache's memory alive; an empty lease when there is no cache.
  Lease lease_cache(std::string holder) const { return cache_ ? cache_->lease(std::move(holder)) : Lease(); }

 private:
  /// A decode batch whose launches and addresses are fixed: a replay launches them again.
  struct Graph {
    std::size_t batch = 0, layer = 0;
    std::unique_ptr<AttentionPass> pass;
    std::vector<Lease> leases;
  };

  void capture(std::size_t batch, std::size_t layer);
  std::uint64_t replay(const Graph& graph);
  std::uint64_t prefill(std::size_t layer);
  void sample(std::size_t rows, bool sorts);
  std::vector<std::size_t> layers_used() const;
  std::vector<std::int32_t> lengths_of(std::size_t batch) const;
  Resource& memory() { return rig_.memory(rank_); }
  Buffer take(std::size_t bytes, Tag tag);
  std::unique_ptr<AttentionPass> pass_of(std::string_view kernel, const Table& shape,
                                         const AttentionPass::Given& given);

  Rig& rig_;
  const int rank_;
  const Model& model_;
  const Limits limits_;
  const ServerBugs bugs_;
  PeakMeter meter_;
  Buffer weights_;
  std::optional<KvCache> cache_;
  std::optional<RequestTable> requests_;
  std::vector<Lease> managers_;  ///< The request manager's and the backend's, on what they index.
  Buffer backend_;
  std::vector<Lease> padded_request_;
  std::vector<Graph> graphs_;
  Buffer canary_;
  std::size_t decode_tokens_ = 0;  ///< Cached tokens of each live request in a decode stress.
  std::size_t builds_ = 0;
};

}  // namespace drought
