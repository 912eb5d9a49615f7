#include "scenarios/span_cover/weight_arena.hpp"

namespace drought {

WeightArena::Room WeightArena::take(std::size_t bytes) {
  constexpr std::size_t alignment = 256;
  for (Chunk& chunk : chunks_) {
    const std::size_t start = chunk.buffer.aligned_offset(chunk.used, alignment);
    if (start > chunk.buffer.bytes() || bytes > chunk.buffer.bytes() - start) continue;
    const std::size_t before = chunk.used;
    chunk.used = start + bytes;
    return Room(chunk.used, chunk.buffer.data() + start, before);
  }
  const std::size_t wanted = bytes > options_.chunk_bytes / 2 ? bytes : options_.chunk_bytes;
  const std::size_t reserved = reserved_bytes();
  if (reserved > options_.bytes_max || wanted > options_.bytes_max - reserved) return {};
  chunks_.push_back({Buffer(memory_, {.bytes = wanted, .alignment = alignment, .tag = "arena"}), bytes});
  return Room(chunks_.back().used, chunks_.back().buffer.data(), 0);
}

std::size_t WeightArena::reserved_bytes() const {
  std::size_t bytes = 0;
  for (const Chunk& chunk : chunks_) bytes += chunk.buffer.bytes();
  return bytes;
}

std::size_t WeightArena::used_bytes() const {
  std::size_t bytes = 0;
  for (const Chunk& chunk : chunks_) bytes += chunk.used;
  return bytes;
}

}  // namespace drought
