// What some allocators can do beyond lending, asked for by dynamic_cast under these names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
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

/// Serves requests up to a size only, however much memory is free; a larger one is OutOfMemory.
class LendsUpTo {
 public:
  virtual ~LendsUpTo() = default;
  virtual std::size_t request_bytes_max() const = 0;
};

/// Answers an error with something else where it cannot throw: in deallocate. The account over it asks
/// after each, so that such an error is on record and not lost.
class FallsBack {
 public:
  virtual ~FallsBack() = default;
  /// What was done instead of what, since the last time it was asked; empty when nothing was.
  virtual std::string_view take_fallback() noexcept = 0;
};

/// Must be told when a block is used on another stream than the one it was allocated for.
class RecordsStreams {
 public:
  virtual ~RecordsStreams() = default;
  virtual void record_stream(void* block, Stream stream) = 0;
};

/// The pair that names a memory pool; {0, 0} is the default one.
struct PoolId {
  std::uint64_t first = 0, second = 0;
  friend constexpr bool operator==(PoolId, PoolId) = default;
  friend constexpr auto operator<=>(PoolId, PoolId) = default;
};

/// Keeps pools beside the one that everybody shares: for captured graphs, or for a part of a program.
/// An unknown pool, and the default one, is std::invalid_argument.
class Pools {
 public:
  struct Kind {
    bool use_on_oom = false;  ///< Its free blocks also serve others before they would run out of memory.
    bool no_split = false;    ///< Its blocks are lent whole.
  };
  enum class Scope : std::uint8_t { plain, capture };
  using Includes = std::function<bool(Stream)>;

  virtual ~Pools() = default;
  /// Makes the pool unless there is one, and holds it once more.
  virtual void create_pool(PoolId id, Kind kind) = 0;
  /// Holds it once less. A pool that nobody holds is emptied when memory is given back.
  virtual void release_pool(PoolId id) = 0;
  /// Makes the pool unless there is one, holds it once more, and directs requests on the streams that
  /// `includes` names to it, until the end; of several scopes the newest wins. While a capture lasts no
  /// event is polled, no memory is given back, and blocks used on several streams wait for its end.
  virtual void begin_allocate_to_pool(PoolId id, Includes includes, Scope scope) = 0;
  virtual void end_allocate_to_pool(PoolId id) = 0;
};

/// Can take up the settings and the memory of a recorded run, before its first request.
class Resumes {
 public:
  struct Block {
    std::uintptr_t address = 0;
    std::size_t bytes = 0;        ///< As requested.
    std::size_t whole_bytes = 0;  ///< 0: not known.
    std::uintptr_t next = 0;      ///< Where another block is known to begin while this one is lent, or 0.
  };
  struct Segment {
    std::uintptr_t address = 0;
    std::size_t bytes = 0;
    Stream stream{};
    PoolId pool{};
    bool is_small = false, is_expandable = false;
    std::vector<Block> lent{};  ///< By address.
  };

  virtual ~Resumes() = default;
  /// `conf`: as PYTORCH_CUDA_ALLOC_CONF. `cap_bytes`: what may be reserved in all; 0 is no cap. Throws
  /// std::invalid_argument for a conf that cannot be read.
  virtual void configure(std::string_view conf, std::size_t cap_bytes) = 0;
  /// Whether memory goes back by age once a cap is known.
  virtual double collects_above() const = 0;
  /// What a request of so many bytes needs at most of a new segment.
  virtual std::size_t segment_bytes(std::size_t bytes) const = 0;
  /// Upstream already lends the segments.
  virtual void resume(std::span<const Segment> segments) = 0;
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
