// Managed memory of the simulated device: pages come when device work touches them and, when the device
// has no room for more, the page that was touched longest ago goes back to the host. What that costs is
// counted in bytes that cross the link, which is the same in every run; nobody waits for it.
//
// Figures: on an H200 the first byte that a kernel touched took 128 MiB of free memory at once, and the
// rest of 32 MiB nothing more. So memory is taken in such chunks while the device has them, then in
// whatever is left, and pages of 2 MiB move in it.
#pragma once

#include <list>
#include <unordered_map>

#include "harness/device/host_pages.hpp"

namespace drought {

class HostManaged {
 public:
  /// All three outlive this. `backed`: blocks can be read and written.
  HostManaged(const Profile& profile, Budget& budget, AddressSpace& space, bool backed)
      : profile_(profile), budget_(budget), space_(space), backed_(backed) {}

  /// bytes > 0. Takes addresses alone; memory_allocation when there are no more.
  Status malloc(std::uintptr_t& out, std::size_t bytes);
  /// invalid_value unless a live block begins there.
  Status free(std::uintptr_t begin);

  /// Device work touches the range, which lies in a block.
  void touch(std::uintptr_t begin, std::size_t bytes);
  void prefetch(std::uintptr_t begin, std::size_t bytes, Residence to);
  /// Sends the oldest pages back to the host until `bytes` more are free, or none is left.
  void make_room(std::size_t bytes);
  /// Bytes that make_room could free.
  std::size_t held_bytes() const { return held_bytes_; }

  /// The live block that holds `address`.
  std::optional<AddressRange> block(std::uintptr_t address) const { return blocks_.containing(address); }
  /// Where the block that holds `address` ends, to whole pages; 0 when there is none.
  std::uintptr_t mapped_until(std::uintptr_t address) const;
  const ManagedTraffic& traffic() const { return traffic_; }

 private:
  using Pages = std::list<std::uintptr_t>;

  /// Whether the page now lies on the device.
  bool bring(std::uintptr_t page);
  void send_away(std::uintptr_t page);
  bool has_room_for_a_page();
  std::size_t resident_bytes() const { return pages_.size() * page_bytes(); }
  std::size_t page_bytes() const { return profile_.granularity_bytes; }
  /// Gives back what the resident pages do not need, in whole chunks.
  void shrink();

  const Profile& profile_;
  Budget& budget_;
  AddressSpace& space_;
  const bool backed_;
  RangeSet blocks_;
  Pages by_age_;  ///< On the device, the one touched longest ago first.
  std::unordered_map<std::uintptr_t, Pages::iterator> pages_;
  std::size_t held_bytes_ = 0;  ///< Of the device's memory.
  ManagedTraffic traffic_;
};

}  // namespace drought
