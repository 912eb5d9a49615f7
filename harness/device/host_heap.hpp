// cudaMalloc's blocks on the simulated device: where they lie and what they cost, as measured on an
// H200. Small blocks share chunks, so that an overrun or a stale read inside a chunk is silent, as it
// is on the GPU; bigger ones have a mapping of their own. The driver maps physical pages anywhere, so
// memory ends by bytes and never by a hole that is too short.
#pragma once

#include "harness/device/host_pages.hpp"

namespace drought {

class HostHeap {
 public:
  /// All three outlive this. `backed`: blocks can be read and written.
  HostHeap(const Profile& profile, Budget& budget, AddressSpace& space, bool backed)
      : profile_(profile),
        budget_(budget),
        space_(space),
        backed_(backed),
        slots_(profile.granularity_bytes) {}

  /// bytes > 0. memory_allocation changes nothing.
  Status malloc(std::uintptr_t& out, std::size_t bytes);
  /// invalid_value unless a live block begins there.
  Status free(std::uintptr_t begin);

  /// The live block that holds `address`, with the bytes that were asked for.
  std::optional<AddressRange> block(std::uintptr_t address) const { return blocks_.containing(address); }
  /// Where the mapping that holds `address` ends; 0 when the address is not mapped.
  std::uintptr_t mapped_until(std::uintptr_t address) const;

 private:
  bool is_small(std::size_t bytes) const { return bytes <= profile_.small_limit_bytes; }
  Status map(std::uintptr_t& out, std::size_t bytes);
  void unmap(std::uintptr_t begin, std::size_t bytes);

  const Profile& profile_;
  Budget& budget_;
  AddressSpace& space_;
  const bool backed_;
  RangeSet blocks_;
  RangeSet chunks_;  ///< The value counts the live blocks in the chunk.
  Holes slots_;      ///< Free room inside chunks.
};

}  // namespace drought
