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
