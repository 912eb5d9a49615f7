// A segment that grows: more addresses than the device has memory are reserved at once, and pages of one
// size are created, mapped and given back as the blocks in it need them. Each page is a handle of its
// own, so that any of them can go back alone.
// Rules: ExpandableSegment in c10/cuda/CUDACachingAllocator.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "harness/device/device.hpp"

namespace drought {

class ExpandableSegment {
 public:
  struct Range {
    std::uintptr_t begin = 0;
    std::size_t bytes = 0;
    std::uintptr_t end() const { return begin + bytes; }
  };

  /// Reserves addresses for `bytes`, rounded up to whole pages; null when there are none. `rank` is the
  /// order among all segments. DeviceError for anything but a lack of memory.
  static std::unique_ptr<ExpandableSegment> reserve(Device& device, std::size_t page_bytes, std::size_t bytes,
                                                    std::uint64_t rank);
  /// Gives the addresses back. All pages have been unmapped, or their memory stays with the device.
  ~ExpandableSegment();
  ExpandableSegment(const ExpandableSegment&) = delete;

  /// Maps the pages that `wanted` touches, none of which is mapped: all or none. The range mapped, or an
  /// empty one when there is no memory for it. DeviceError as for reserve, with nothing mapped.
  Range map(Range wanted);
  /// Unmaps the pages that lie wholly in `range` when the work of `stream` is done. Pages from the first
  /// one on that the device refuses to unmap stay mapped. Sets `fell_back` when the stream is gone and the
  /// whole device was waited for. DeviceError, and nothing is unmapped, when that work failed.
  Range unmap(Range range, Stream stream, bool& fell_back);

  Range whole() const { return {begin_, bytes_}; }
  std::uint64_t rank() const { return rank_; }

 private:
  ExpandableSegment(Device& device, Range where, std::size_t page_bytes, std::uint64_t rank)
      : device_(device), begin_(where.begin), bytes_(where.bytes), page_bytes_(page_bytes), rank_(rank) {}

  void* page(std::size_t index) const { return reinterpret_cast<void*>(begin_ + index * page_bytes_); }
  Status map_page(std::size_t index, std::string_view& call);
  void drop_page(std::size_t index);

  Device& device_;
  const std::uintptr_t begin_;
  const std::size_t bytes_, page_bytes_;
  const std::uint64_t rank_;
  std::vector<MemoryHandle> handles_;  // By page, as far as any was ever mapped; 0 where none is.
};

}  // namespace drought
