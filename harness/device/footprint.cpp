#include "harness/device/footprint.hpp"

#include <limits>

namespace drought {

std::size_t Footprint::cost_alone(std::size_t bytes) const {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  return bytes > kMost - granule_ ? kMost : round_up(bytes, granule_);
}

/// What the block costs: granules of its own, and those at its ends for which `change` says true.
template <typename Change>
std::size_t Footprint::at_both_ends(std::uintptr_t address, std::size_t bytes, Change change) {
  const std::uintptr_t first = address / granule_, last = (address + bytes - 1) / granule_;
  std::size_t granules = last > first ? last - first - 1 : 0;
  granules += change(first) ? 1 : 0;
  if (last != first) granules += change(last) ? 1 : 0;
  return granules * granule_;
}

std::size_t Footprint::add(const void* block, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  blocks_[address] = bytes;
  const std::size_t cost =
      at_both_ends(address, bytes, [&](std::uintptr_t end) { return ends_[end]++ == 0; });
  bytes_ += cost;
  return cost;
}

void Footprint::remove(const void* block) {
  const auto found = blocks_.find(reinterpret_cast<std::uintptr_t>(block));
  if (found == blocks_.end()) return;
  const auto [address, bytes] = *found;
  blocks_.erase(found);
  bytes_ -= at_both_ends(address, bytes, [&](std::uintptr_t end) {
    if (--ends_[end] > 0) return false;
    ends_.erase(end);
    return true;
  });
}

}  // namespace drought
