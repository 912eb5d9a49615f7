// Host memory as the simulated device sees it: pinned blocks, and ranges that were registered. Kernels
// reach no other host memory, as on an H200 whose pageable access is off.
#pragma once

#include "harness/device/host_pages.hpp"

namespace drought {

class HostMemory {
 public:
  /// `budget` outlives this. On unified profiles pinned blocks and registered ranges, whose pages
  /// can no longer be paged out, are device memory too.
  HostMemory(const Profile& profile, Budget& budget, std::uint64_t first_offset)
      : profile_(profile), budget_(budget), next_offset_(first_offset) {}
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  /// Frees every block.
  ~HostMemory();

  /// bytes > 0. Readable and writable by the host at once, zero-filled.
  Status malloc(std::uintptr_t& out, std::size_t bytes);
  Status free(std::uintptr_t begin);
  Status add(std::uintptr_t begin, std::size_t bytes, HostRegistration how);
  Status remove(std::uintptr_t begin);

  /// A pinned block or a registered range.
  struct Place {
    AddressRange range;  ///< The value is the offset of its first byte.
    bool read_only = false;
  };
  std::optional<Place> place(std::uintptr_t address) const;
  /// Where the place that holds `address` ends; 0 when a kernel may not access it so.
  std::uintptr_t mapped_until(std::uintptr_t address, Access access) const;

 private:
  const Profile& profile_;
  Budget& budget_;
  std::uint64_t next_offset_;
  std::size_t pinned_bytes_ = 0;
  std::size_t registered_bytes_ = 0;
  RangeSet pinned_;
  RangeSet registered_;  ///< The top bit of the value: read-only.
};

/// What this process may do with every byte of a range, by the kernel's own table. A page behind the
/// end of a mapped file counts as mapped.
Protection host_protection(std::uintptr_t begin, std::size_t bytes);

}  // namespace drought
