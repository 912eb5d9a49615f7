// What a program asked of an allocator and what the allocator did, whoever recorded it: the one form into
// which every reader turns its file, and all that replay and diagnosis look at. The words are those of
// PyTorch's recorder, which tells the most.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/memory/interfaces.hpp"
#include "harness/trace/pickle.hpp"

namespace drought {

enum class TraceAction : std::uint8_t {
  alloc,
  free_requested,
  free_completed,
  segment_alloc,
  segment_free,
  segment_map,
  segment_unmap,
  snapshot,
  oom,
};
std::string_view name(TraceAction action);

struct TraceEvent {
  TraceAction action{};
  bool has_pool = false;      ///< Newer recorders name the pool of each event.
  std::uint32_t pool = 0;     ///< An index into Snapshot::pools, when has_pool.
  std::uint64_t address = 0;  ///< Of the block, segment or range; of an oom, the device's free bytes.
  std::uint64_t bytes = 0;    ///< As requested for blocks; an oom's are rounded.
  std::uint64_t stream = 0;   ///< The handle's bits.
  std::int64_t time_us = 0;
  pickle::Value frames{};  ///< A list of {filename, line, name}, or missing.
};

enum class BlockState : std::uint8_t { active_allocated, active_pending_free, inactive };

struct SnapshotBlock {
  std::uint64_t address = 0, bytes = 0, requested_bytes = 0;
  BlockState state{};
};

struct SnapshotSegment {
  int device = 0;
  std::uint64_t address = 0, bytes = 0, stream = 0;
  bool is_small = false, is_expandable = false;
  PoolId pool{};
  std::vector<SnapshotBlock> blocks;  ///< In address order.
};

struct SnapshotSettings {
  std::string conf;                  ///< PYTORCH_CUDA_ALLOC_CONF as last parsed.
  std::int64_t max_split_size = -1;  ///< Bytes; -1 is unlimited.
  double garbage_collection_threshold = 0;
  bool expandable_segments = false;
  std::vector<std::uint64_t> roundup_power2_divisions;  ///< By rising power of two from 1 MiB.
};

struct Trace {
  std::string name{};                       ///< The file's, for messages.
  std::string_view recorder{};              ///< The reader's name: pytorch, rmm …; empty: no file's.
  std::vector<SnapshotSegment> segments{};  ///< What was left at the end, where the recorder says.
  std::vector<std::vector<TraceEvent>> device_traces{};  ///< One list a device, in recorded order.
  std::vector<PoolId> pools{};
  SnapshotSettings settings{};
  std::uint64_t limit_bytes =
      0;  ///< The cap on what may be borrowed, where the recorder names it; 0: unknown.
  std::shared_ptr<const void> frames_in{};  ///< What the events' frames point into, where they have any.
};

}  // namespace drought
