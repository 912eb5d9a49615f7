// ggml's offset allocator (ggml_dyn_tallocr, ggml-alloc.c): the free blocks of up to 16 chunks, which need
// not exist yet. A request takes the smallest free block that fits, the last block of each chunk left out;
// only where none fits does it take from a last block, the one that makes its chunk grow least; then it
// opens a chunk. Freed blocks are merged with their neighbours at once.
//
// ggml forgets its best size from chunk to chunk, so that the last chunk with any hole that fits is taken;
// here the smallest hole of all is, unless `best_fit_per_chunk` asks for ggml's rule.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace drought {

class DynTallocr {
 public:
  static constexpr std::size_t kChunks = 16;       ///< GGML_VBUFFER_MAX_CHUNKS
  static constexpr std::size_t kFreeBlocks = 256;  ///< MAX_FREE_BLOCKS, in each chunk.
  static constexpr std::size_t kUnbounded = SIZE_MAX / 2;

  struct Place {
    std::size_t chunk = 0, offset = 0;
    friend bool operator==(const Place&, const Place&) = default;
  };
  struct FreeBlock {
    std::size_t offset = 0, bytes = 0;
  };
  struct Options {
    std::size_t alignment = 128;      ///< A power of two; every size is rounded up to it.
    std::size_t lent_max = SIZE_MAX;  ///< Blocks that one chunk lends at a time.
    bool best_fit_per_chunk = false;
  };

  explicit DynTallocr(Options options) : options_(options) {}

  /// A place in an open chunk, or nothing. O(free blocks), as in the original.
  std::optional<Place> take(std::size_t bytes);
  /// Opens a chunk that reaches to `end`, of which the first `grown` bytes are there already. Nothing when
  /// all chunks are open.
  std::optional<std::size_t> open(std::size_t end, std::size_t grown = 0);
  /// The chunk is not used any more; it has nothing lent.
  void close(std::size_t chunk) { chunks_[chunk] = {}; }
  /// `place` and `bytes` as they were taken. False, and nothing is freed, when there would be more than
  /// kFreeBlocks.
  [[nodiscard]] bool free(Place place, std::size_t bytes);

  bool is_open(std::size_t chunk) const { return chunks_[chunk].end != 0; }
  std::size_t open_chunks() const;
  /// The highest end of any block that the chunk has ever lent.
  std::size_t grown_bytes(std::size_t chunk) const { return chunks_[chunk].grown; }
  bool is_unused(std::size_t chunk) const { return is_open(chunk) && chunks_[chunk].lent == 0; }
  const std::vector<FreeBlock>& free_blocks(std::size_t chunk) const { return chunks_[chunk].free; }
  std::size_t rounded(std::size_t bytes) const {
    return (bytes + options_.alignment - 1) / options_.alignment * options_.alignment;
  }

 private:
  struct Chunk {
    std::size_t end = 0;  ///< 0: not open.
    std::size_t grown = 0, lent = 0;
    std::vector<FreeBlock> free;  ///< By rising offset; no two touch.
  };
  struct Found {
    std::size_t chunk = kChunks, block = 0;
  };

  Found best_hole(std::size_t bytes) const;
  Found best_end(std::size_t bytes) const;

  const Options options_;
  std::array<Chunk, kChunks> chunks_;
};

}  // namespace drought
