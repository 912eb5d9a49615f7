// Device memory behind the cache of file ranges: a few large chunks, each handed out front to back, all
// given back together. The limit counts what the chunks take, not what was asked of them, since half-used
// chunks are how such an arena once took 1.556 bytes for each byte it held (antirez/ds4 issue 585).
#pragma once

#include <cstddef>
#include <vector>

#include "harness/memory/buffer.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {

class WeightArena {
 public:
  struct Options {
    std::size_t chunk_bytes = 1792_MiB;  ///< ds4's default; a request above half of it gets its own chunk.
    std::size_t bytes_max = 96_GiB;      ///< ds4's default limit of the cache.
  };
  /// `memory` outlives this.
  WeightArena(Resource& memory, Options options) : memory_(memory), options_(options) {}

  /// Room that is given back unless kept.
  class Room {
   public:
    Room() = default;
    Room(std::size_t& used, std::byte* data, std::size_t before)
        : used_(&used), data_(data), before_(before) {}
    Room(Room&& other) noexcept : used_(other.used_), data_(other.data_), before_(other.before_) {
      other.used_ = nullptr;
    }
    Room& operator=(Room&&) = delete;
    ~Room() {
      if (used_) *used_ = before_;
    }
    std::byte* data() const { return data_; }
    std::byte* keep() {
      used_ = nullptr;
      return data_;
    }

   private:
    std::size_t* used_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t before_ = 0;
  };

  /// Null data when the limit leaves no room. Throws OutOfMemory when the memory does not. The room is
  /// kept or dropped before the next call.
  Room take(std::size_t bytes);
  void clear() { chunks_.clear(); }

  std::size_t reserved_bytes() const;
  std::size_t used_bytes() const;

 private:
  struct Chunk {
    Buffer buffer;
    std::size_t used = 0;
  };

  Resource& memory_;
  const Options options_;
  std::vector<Chunk> chunks_;
};

}  // namespace drought
