// Address space without backing: regions that the operating system reserves but never fills, carved
// into ranges by lowest address. A device of 141 GB costs one mapping and no memory; pages become
// accessible only where a block lives and its device really computes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/device/host_ranges.hpp"

namespace drought {

/// The most that one reservation may ask for. ThreadSanitizer refuses mappings above about 0.5 TiB.
std::size_t reservation_bytes_max();

/// Makes pages accessible or not, keeping their contents. Throws std::runtime_error when the operating
/// system refuses, which it does at about 32,000 scattered live ranges (vm.max_map_count).
void protect_pages(std::uintptr_t begin, std::size_t bytes, Protection protection);

/// Gives the pages' memory back and makes them inaccessible.
void drop_pages(std::uintptr_t begin, std::size_t bytes);

/// Device memory as the driver counts it.
class Budget {
 public:
  explicit Budget(std::size_t total_bytes) : total_bytes_(total_bytes) {}
  /// False, and nothing changes, when fewer bytes are free.
  bool take(std::size_t bytes) {
    if (bytes > free_bytes()) return false;
    used_bytes_ += bytes;
    return true;
  }
  void give(std::size_t bytes) { used_bytes_ -= bytes; }
  std::size_t free_bytes() const { return total_bytes_ - used_bytes_; }
  std::size_t total_bytes() const { return total_bytes_; }

 private:
  std::size_t total_bytes_;
  std::size_t used_bytes_ = 0;
};

class AddressSpace {
 public:
  struct Options {
    std::size_t region_bytes = 0;       ///< Reserved at a time; a longer range gets a region of its own.
    std::uint64_t first_offset = 0;     ///< offset_of the first region's first byte.
    std::size_t granularity_bytes = 0;  ///< Of every range; a power of two.
  };
  explicit AddressSpace(Options options) : options_(options), next_offset_(options.first_offset) {}
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;
  ~AddressSpace();

  /// A range of inaccessible addresses, lowest first; nothing when the operating system has no more.
  std::optional<std::uintptr_t> take(std::size_t bytes);
  /// The range's pages are inaccessible again.
  void give(std::uintptr_t begin, std::size_t bytes);

  bool owns(std::uintptr_t address) const { return region_of(address) != nullptr; }
  /// The same in every run that makes the same calls; nothing for a foreign address.
  std::optional<std::uint64_t> offset_of(std::uintptr_t address) const;

 private:
  struct Region {
    std::uintptr_t begin;
    std::size_t bytes;
    std::uint64_t offset;
    Holes holes;
  };
  const Region* region_of(std::uintptr_t address) const;
  bool reserve(std::size_t bytes);

  Options options_;
  std::uint64_t next_offset_;
  std::vector<Region> regions_;
};

}  // namespace drought
