// What one process's cudaMalloc blocks cost of a device's memory, counted from the addresses that the
// driver gave: every granule (2 MiB) that a live block touches costs its whole size, once. Blocks below
// a granule share granules, as cudaMemGetInfo differences on an H200 showed; a bigger block begins on a
// granule of its own, so its size is rounded up.
//
// It is an approximation in one way: memory that the driver keeps for itself is not seen. The cap of the
// cuda lane stands on this; the GPU's own figures do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "harness/device/profile.hpp"

namespace drought {

class Footprint {
 public:
  /// `profile` outlives this.
  explicit Footprint(const Profile& profile) : granule_(profile.granularity_bytes) {}

  /// What `bytes` cost when they share no granule with another block; the largest size_t when rounding
  /// up would wrap.
  std::size_t cost_alone(std::size_t bytes) const;
  /// Records a live block of bytes > 0 and answers what it added, 0 when its granules were paid for.
  std::size_t add(const void* block, std::size_t bytes);
  /// Forgets a block; one that is not known changes nothing.
  void remove(const void* block);

  std::size_t bytes() const { return bytes_; }
  /// Live blocks: address to size asked for.
  const std::map<std::uintptr_t, std::size_t>& blocks() const { return blocks_; }

 private:
  /// A block's first and last granule may be shared; those between are its own.
  template <typename Change>
  std::size_t at_both_ends(std::uintptr_t address, std::size_t bytes, Change change);

  const std::size_t granule_;
  std::map<std::uintptr_t, std::size_t> blocks_;
  std::map<std::uintptr_t, std::size_t> ends_;  ///< Granule number to blocks that begin or end in it.
  std::size_t bytes_ = 0;
};

}  // namespace drought
