// What one process's cudaMalloc blocks cost of a device's memory, counted from the addresses that the
// driver gave. The rules are those cudaMemGetInfo differences showed (profile.hpp): blocks at or below
// the small limit share chunks, and a chunk costs its whole size while one block in it lives; a larger
// block costs its own size rounded up to the granularity.
//
// It is an approximation in one way: a chunk is taken to begin at a multiple of its size, which is
// where the H200's driver puts it. The cap of the cuda lane stands on this; the GPU's own figures do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "harness/device/profile.hpp"

namespace drought {

class Footprint {
 public:
  /// `profile` outlives this.
  explicit Footprint(const Profile& profile) : profile_(profile) {}

  /// What `bytes` more would cost if they get memory of their own, whatever is mapped already; the
  /// largest size_t when rounding up would wrap.
  std::size_t cost_alone(std::size_t bytes) const;
  /// Records a live block and answers what it added, 0 when it found room in a chunk.
  std::size_t add(const void* block, std::size_t bytes);
  /// Forgets a block; one that is not known changes nothing.
  void remove(const void* block);

  std::size_t bytes() const { return bytes_; }
  /// Live blocks: address to size asked for.
  const std::map<std::uintptr_t, std::size_t>& blocks() const { return blocks_; }

 private:
  bool is_small(std::size_t bytes) const { return bytes <= profile_.small_limit_bytes; }

  const Profile& profile_;
  std::map<std::uintptr_t, std::size_t> blocks_;
  std::map<std::uintptr_t, std::size_t> chunks_;  ///< Chunk number to live small blocks in it.
  std::size_t bytes_ = 0;
};

}  // namespace drought
