// Virtual memory management on the simulated device: physical handles, reserved addresses, mappings
// and access, answering as an H200's driver was measured to. Handles are stretches of one sparse
// anonymous file, so that a handle mapped at two addresses is one memory seen twice.
#pragma once

#include <unordered_map>

#include "harness/device/host_pages.hpp"

namespace drought {

class HostVmm {
 public:
  /// All three outlive this. `backed`: mappings can be read and written.
  HostVmm(const Profile& profile, Budget& budget, AddressSpace& space, bool backed);
  HostVmm(const HostVmm&) = delete;
  HostVmm& operator=(const HostVmm&) = delete;
  ~HostVmm();

  Status create(MemoryHandle& out, std::size_t bytes);
  /// A mapped handle's memory stays until its last mapping goes.
  Status release(MemoryHandle handle);
  Status reserve(std::uintptr_t& out, std::size_t bytes);
  Status free_addresses(std::uintptr_t begin, std::size_t bytes);
  Status map(const AddressRange& where, std::size_t offset, MemoryHandle handle);
  /// One mapping, or several that join without a gap; success as well where nothing is mapped.
  Status unmap(std::uintptr_t begin, std::size_t bytes);
  Status set_access(std::uintptr_t begin, std::size_t bytes, Protection protection);

  /// Where the mapping that holds `address` ends; 0 unless it may be accessed so.
  std::uintptr_t mapped_until(std::uintptr_t address, Access access) const;
  bool is_mapped(std::uintptr_t address) const { return mappings_.containing(address).has_value(); }

 private:
  struct Handle {
    std::size_t bytes = 0;
    std::size_t file_offset = 0;
    std::size_t mappings = 0;
    bool released = false;
  };
  struct Mapping {
    std::uint64_t handle = 0;
    Protection protection = Protection::none;
  };
  static std::uint64_t packed(Mapping mapping) {
    return mapping.handle << 2 | static_cast<std::uint64_t>(mapping.protection);
  }
  static Mapping unpacked(std::uint64_t value) { return {value >> 2, static_cast<Protection>(value & 3)}; }

  bool aligned(std::uint64_t value) const { return value % profile_.granularity_bytes == 0; }
  bool inside_a_reservation(std::uintptr_t begin, std::size_t bytes) const;
  bool overlaps_a_mapping(std::uintptr_t begin, std::size_t bytes) const;
  /// Whether whole mappings cover the range without a gap.
  bool exactly_mapped(std::uintptr_t begin, std::size_t bytes) const;
  void forget_if_unused(std::uint64_t id);

  const Profile& profile_;
  Budget& budget_;
  AddressSpace& space_;
  int file_ = -1;
  std::size_t file_bytes_ = 0;
  std::uint64_t next_handle_ = 1;
  std::unordered_map<std::uint64_t, Handle> handles_;
  RangeSet reservations_;
  RangeSet mappings_;
};

}  // namespace drought
