#include "harness/device/footprint.hpp"

#include <limits>

namespace drought {

std::size_t Footprint::cost_alone(std::size_t bytes) const {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  if (bytes > kMost - profile_.granularity_bytes) return kMost;
  return round_up(bytes, profile_.granularity_bytes);
}

std::size_t Footprint::add(const void* block, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  blocks_[address] = bytes;
  const bool shares = is_small(bytes) && chunks_[address / profile_.granularity_bytes]++ > 0;
  const std::size_t cost = shares ? 0 : cost_alone(bytes);
  bytes_ += cost;
  return cost;
}

void Footprint::remove(const void* block) {
  const auto found = blocks_.find(reinterpret_cast<std::uintptr_t>(block));
  if (found == blocks_.end()) return;
  const auto [address, bytes] = *found;
  blocks_.erase(found);
  if (is_small(bytes)) {
    const auto chunk = chunks_.find(address / profile_.granularity_bytes);
    if (--chunk->second > 0) return;
    chunks_.erase(chunk);
  }
  bytes_ -= cost_alone(bytes);
}

}  // namespace drought
