#include "allocators/caching_expandable.hpp"

#include "harness/memory/bytes.hpp"

namespace drought {

std::unique_ptr<ExpandableSegment> ExpandableSegment::reserve(Device& device, std::size_t page_bytes,
                                                              std::size_t bytes, std::uint64_t rank) {
  const std::size_t whole_bytes = round_up(bytes, page_bytes);
  void* begin = nullptr;
  const Status status = device.address_reserve(begin, whole_bytes);
  if (status != Status::success) {
    (void)device.take_last_error();
    if (status == Status::memory_allocation) return nullptr;
    throw DeviceError(status, "cuMemAddressReserve");
  }
  const Range where{reinterpret_cast<std::uintptr_t>(begin), whole_bytes};
  return std::unique_ptr<ExpandableSegment>(new ExpandableSegment(device, where, page_bytes, rank));
}

ExpandableSegment::~ExpandableSegment() {
  (void)device_.address_free(reinterpret_cast<void*>(begin_), bytes_);
}

Status ExpandableSegment::map_page(std::size_t index, std::string_view& call) {
  MemoryHandle handle;
  call = "cuMemCreate";
  Status status = device_.mem_create(handle, page_bytes_, "expandable_segment");
  if (status != Status::success) return status;
  call = "cuMemMap";
  status = device_.mem_map(page(index), page_bytes_, 0, handle);
  if (status == Status::success)
    handles_[index] = handle;
  else
    (void)device_.mem_release(handle);
  return status;
}

void ExpandableSegment::drop_page(std::size_t index) {
  // An error of giving back reports what happened before: the page is gone. One that is not can never be
  // mapped again, and its memory is seen to be held.
  if (device_.mem_unmap(page(index), page_bytes_) != Status::success) (void)device_.take_last_error();
  (void)device_.mem_release(handles_[index]);
  handles_[index] = {};
}

ExpandableSegment::Range ExpandableSegment::map(Range wanted) {
  const std::size_t first = (wanted.begin - begin_) / page_bytes_;
  const std::size_t end = round_up(wanted.end() - begin_, page_bytes_) / page_bytes_;
  if (handles_.size() < end) handles_.resize(end);
  std::size_t at = first;
  std::string_view call;
  Status status = Status::success;
  while (at < end && (status = map_page(at, call)) == Status::success) ++at;
  const Range mapped{begin_ + first * page_bytes_, (end - first) * page_bytes_};
  if (status == Status::success) {
    call = "cuMemSetAccess";
    status =
        device_.mem_set_access(reinterpret_cast<void*>(mapped.begin), mapped.bytes, Protection::read_write);
  }
  if (status == Status::success) return mapped;
  while (at != first) drop_page(--at);
  (void)device_.take_last_error();
  if (status == Status::memory_allocation) return {wanted.begin, 0};
  throw DeviceError(status, call);
}

ExpandableSegment::Range ExpandableSegment::unmap(Range range, Stream stream, bool& fell_back) {
  const std::size_t first = round_up(range.begin - begin_, page_bytes_) / page_bytes_;
  const std::size_t end = (range.end() - begin_) / page_bytes_;
  if (first >= end) return {range.begin, 0};
  Status status = device_.stream_synchronize(stream);
  if (status == Status::invalid_resource_handle) {
    // The stream is gone; what it still had to do is the device's.
    (void)device_.take_last_error();
    fell_back = true;
    status = device_.synchronize();
  }
  if (status != Status::success) throw DeviceError(status, "the wait before cuMemUnmap");
  for (std::size_t at = first; at < end; ++at) drop_page(at);
  return {begin_ + first * page_bytes_, (end - first) * page_bytes_};
}

}  // namespace drought
