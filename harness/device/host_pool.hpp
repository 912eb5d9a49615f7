// cudaMallocAsync's default pool on the simulated device, with the figures measured on an H200: memory
// comes from the device in chunks of 32 MiB behind one contiguous stretch of addresses, so that a block
// may span chunks; idle memory is used again at the lowest address that fits; and a synchronisation
// gives back the idle chunks above the release threshold.
//
// A block is free to be lent again as soon as free_async returns. Lent to another stream, that stream
// waits for the place of the free in the first one's order, as the driver makes it wait.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "harness/device/host_pages.hpp"
#include "harness/device/host_streams.hpp"

namespace drought {

class HostPool {
 public:
  /// All four outlive this. `backed`: blocks can be read and written.
  HostPool(const Profile& profile, Budget& budget, AddressSpace& space, HostStreams& streams, bool backed)
      : profile_(profile), budget_(budget), space_(space), streams_(streams), backed_(backed) {}

  /// bytes > 0, a stream that exists. memory_allocation changes nothing.
  Status malloc(std::uintptr_t& out, std::size_t bytes, Stream stream);
  /// In `stream`'s order. invalid_value unless a live block begins there.
  Status free(std::uintptr_t begin, Stream stream);

  /// Gives idle chunks back, the highest first, while more than `keep_bytes` are reserved. Those whose
  /// frees have not come up in their streams stay. The bytes given back.
  std::size_t trim(std::size_t keep_bytes);
  /// What a synchronisation does.
  void synchronized() { trim(release_threshold_bytes_); }
  /// Bytes that trim(0) would give back.
  std::size_t idle_bytes();

  void set_release_threshold(std::size_t bytes) { release_threshold_bytes_ = bytes; }
  PoolAttributes attributes() const {
    return {release_threshold_bytes_, reserved_bytes_, reserved_high_bytes_, used_bytes_, used_high_bytes_};
  }

  /// The live block that holds `address`, with the bytes that were asked for.
  std::optional<AddressRange> block(std::uintptr_t address) const { return blocks_.containing(address); }
  /// Where the mapping that holds `address` ends; 0 when the address is not mapped. Chunks stay mapped
  /// while they are reserved, so a stale read is silent.
  std::uintptr_t mapped_until(std::uintptr_t address) const;

 private:
  /// A free that its stream has not reached yet.
  struct Pending {
    std::uintptr_t end = 0;
    Stream stream;
    std::shared_ptr<const Event> event;  ///< Destroyed with the last part of the range.
  };
  using Chunks = std::set<std::uintptr_t>;

  std::size_t slot_bytes(std::size_t bytes) const { return round_up(bytes, profile_.small_stride_bytes); }
  bool open_arena();
  /// Maps what is missing under the range; false, and nothing changes, when the device has too little.
  bool map_under(std::uintptr_t begin, std::size_t bytes);
  void map(std::uintptr_t chunk);
  void unmap(std::uintptr_t chunk);
  bool is_idle(std::uintptr_t chunk) const;
  /// Makes `stream` wait for every free in the range that another stream has still to reach.
  void wait_for_frees(std::uintptr_t begin, std::size_t bytes, Stream stream);
  void forget_reached_frees();

  const Profile& profile_;
  Budget& budget_;
  AddressSpace& space_;
  HostStreams& streams_;
  const bool backed_;

  bool is_open_ = false;
  Holes unlent_;  ///< Addresses in no live block, mapped or not.
  Holes idle_;    ///< The mapped ones among them.
  Chunks chunks_;
  RangeSet blocks_;
  std::map<std::uintptr_t, Pending> pending_;  ///< Disjoint, by where the freed range begins.
  std::size_t release_threshold_bytes_ = 0;
  std::size_t reserved_bytes_ = 0, reserved_high_bytes_ = 0, used_bytes_ = 0, used_high_bytes_ = 0;
};

}  // namespace drought
