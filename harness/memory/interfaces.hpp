// What some allocators can do beyond lending, asked for by dynamic_cast under these names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "harness/memory/resource.hpp"

namespace drought {

/// Keeps freed memory and can give it back to its upstream: PyTorch's empty_cache.
class Trims {
 public:
  virtual ~Trims() = default;
  /// Returns every idle byte it can; the number returned.
  virtual std::size_t trim() = 0;
  /// Bytes borrowed from upstream, idle ones included.
  virtual std::size_t reserved_bytes() const = 0;
};

/// Asks its upstream again after a refusal, and promises how often. The account over it counts the tries
/// that it sees, so the promise is kept or broken whatever the allocator says of itself.
class Retries {
 public:
  virtual ~Retries() = default;
  /// Requests to upstream, the first included, before one allocate() gives up; 1 or more.
  virtual std::size_t attempts_max() const = 0;
};

/// Must be told when a block is used on another stream than the one it was allocated for.
class RecordsStreams {
 public:
  virtual ~RecordsStreams() = default;
  virtual void record_stream(void* block, Stream stream) = 0;
};

/// One decision of an allocator about its segments, in the words of PyTorch's trace.
struct Decision {
  enum class Kind : std::uint8_t { segment_alloc, segment_free, segment_map, segment_unmap, oom };
  Kind kind{};
  std::uintptr_t address = 0;
  std::size_t bytes = 0;
  std::uint64_t stream = 0;
};

/// Reports each decision to one listener as it is made.
class LogsDecisions {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void decided(const Decision& decision) = 0;
  };
  virtual ~LogsDecisions() = default;
  /// `listener` outlives the allocator or is replaced by nullptr first.
  virtual void log_decisions_to(Listener* listener) = 0;
};

/// Looks at each block as it comes back for damage that others did around it.
class GuardsBlocks {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    /// `damage` names the block and what is wrong; empty when it is whole.
    virtual void looked_at_block(std::string_view damage) = 0;
    /// A device call failed that the look needs.
    virtual void could_not_look(std::string_view why) = 0;
  };
  virtual ~GuardsBlocks() = default;
  /// `listener` outlives the allocator or is replaced by nullptr first.
  virtual void report_damage_to(Listener* listener) = 0;
};

/// Can show what it holds and has not lent, so that a difference in a replay can be explained.
class ListsFreeBlocks {
 public:
  struct FreeBlock {
    std::uintptr_t address = 0;
    std::size_t bytes = 0;
    std::uint64_t stream = 0;
  };
  virtual ~ListsFreeBlocks() = default;
  /// In the order in which the allocator searches them.
  virtual std::vector<FreeBlock> free_blocks() const = 0;
};

}  // namespace drought
