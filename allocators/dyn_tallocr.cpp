#include "allocators/dyn_tallocr.hpp"

#include <algorithm>

namespace drought {

DynTallocr::Found DynTallocr::best_hole(std::size_t bytes) const {
  Found found;
  std::size_t best = SIZE_MAX;
  for (std::size_t c = 0; c < kChunks; ++c) {
    if (options_.best_fit_per_chunk) best = SIZE_MAX;
    if (chunks_[c].lent >= options_.lent_max) continue;
    const std::vector<FreeBlock>& free = chunks_[c].free;
    for (std::size_t i = 0; i + 1 < free.size(); ++i) {
      if (free[i].bytes < bytes || free[i].bytes > best) continue;
      best = free[i].bytes;
      found = {c, i};
    }
  }
  return found;
}

// Of the last blocks the one that leaves least of its chunk's grown bytes unused, or, where all of them
// make their chunk grow, the one that grows least.
DynTallocr::Found DynTallocr::best_end(std::size_t bytes) const {
  Found found;
  std::int64_t best = INT64_MIN;
  for (std::size_t c = 0; c < kChunks; ++c) {
    const Chunk& chunk = chunks_[c];
    if (chunk.lent >= options_.lent_max || chunk.free.empty() || chunk.free.back().bytes < bytes) continue;
    const auto unused =
        static_cast<std::int64_t>(chunk.grown) - static_cast<std::int64_t>(chunk.free.back().offset + bytes);
    const bool grows_less = best < 0 && unused > best;
    const bool fits_tighter = unused >= 0 && unused < best;
    if (!grows_less && !fits_tighter) continue;
    best = unused;
    found = {c, chunk.free.size() - 1};
  }
  return found;
}

std::optional<DynTallocr::Place> DynTallocr::take(std::size_t bytes) {
  bytes = rounded(bytes);
  Found found = best_hole(bytes);
  if (found.chunk == kChunks) found = best_end(bytes);
  if (found.chunk == kChunks) return std::nullopt;
  Chunk& chunk = chunks_[found.chunk];
  FreeBlock& block = chunk.free[found.block];
  const Place place{found.chunk, block.offset};
  block.offset += bytes;
  block.bytes -= bytes;
  chunk.grown = std::max(chunk.grown, block.offset);
  ++chunk.lent;
  if (block.bytes == 0) chunk.free.erase(chunk.free.begin() + static_cast<std::ptrdiff_t>(found.block));
  return place;
}

std::optional<std::size_t> DynTallocr::open(std::size_t end, std::size_t grown) {
  for (std::size_t c = 0; c < kChunks; ++c) {
    if (is_open(c)) continue;
    std::vector<FreeBlock> free;
    free.reserve(kFreeBlocks);
    free.push_back({0, end});
    chunks_[c] = {end, grown, 0, std::move(free)};
    return c;
  }
  return std::nullopt;
}

bool DynTallocr::free(Place place, std::size_t bytes) {
  bytes = rounded(bytes);
  std::vector<FreeBlock>& free = chunks_[place.chunk].free;
  const auto after =
      std::lower_bound(free.begin(), free.end(), place.offset,
                       [](const FreeBlock& block, std::size_t offset) { return block.offset < offset; });
  const bool joins_after = after != free.end() && after->offset == place.offset + bytes;
  const bool joins_before =
      after != free.begin() && std::prev(after)->offset + std::prev(after)->bytes == place.offset;
  if (joins_before && joins_after) {
    std::prev(after)->bytes += bytes + after->bytes;
    free.erase(after);
  } else if (joins_before) {
    std::prev(after)->bytes += bytes;
  } else if (joins_after) {
    after->offset = place.offset;
    after->bytes += bytes;
  } else {
    if (free.size() == kFreeBlocks) return false;
    free.insert(after, {place.offset, bytes});
  }
  --chunks_[place.chunk].lent;
  return true;
}

std::size_t DynTallocr::open_chunks() const {
  return static_cast<std::size_t>(
      std::count_if(chunks_.begin(), chunks_.end(), [](const Chunk& chunk) { return chunk.end != 0; }));
}

}  // namespace drought
