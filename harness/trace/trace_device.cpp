#include "harness/trace/trace_device.hpp"

namespace drought {
namespace {

// A trace does not say how large its device was; nothing in it may be refused for that.
constexpr std::size_t kTotalBytes = std::size_t{1} << 42;

}  // namespace

Status TraceDevice::do_malloc(void*& out, std::size_t bytes) {
  const Request request{.bytes = bytes, .from = {}};
  try {
    out = driver_.allocate(request);
  } catch (const OutOfMemory&) {
    return Status::memory_allocation;
  }
  lent_.insert_or_assign(reinterpret_cast<std::uintptr_t>(out), request);
  return Status::success;
}

Status TraceDevice::do_free(void* block) {
  const auto found = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (found == lent_.end()) return block ? Status::invalid_value : Status::success;
  driver_.deallocate(block, found->second);
  lent_.erase(found);
  return Status::success;
}

Status TraceDevice::do_mem_info(MemInfo& out) {
  out = {kTotalBytes - driver_.reserved_bytes(), kTotalBytes};
  return Status::success;
}

Status TraceDevice::do_mem_create(MemoryHandle& out, std::size_t) {
  if (!driver_.may_map()) return Status::memory_allocation;
  out.id = ++last_handle_;
  return Status::success;
}

Status TraceDevice::do_address_reserve(void*& out, std::size_t bytes) {
  // Where the trace maps nothing, nothing ever shows which addresses were reserved.
  if (!driver_.may_map()) return Status::memory_allocation;
  out = reinterpret_cast<void*>(driver_.reserve(bytes));
  return out ? Status::success : Status::memory_allocation;
}

Status TraceDevice::do_mem_map(void* begin, std::size_t bytes, std::size_t, MemoryHandle) {
  driver_.map(reinterpret_cast<std::uintptr_t>(begin), bytes);
  return Status::success;
}

Status TraceDevice::do_mem_unmap(void* begin, std::size_t bytes) {
  driver_.unmap(reinterpret_cast<std::uintptr_t>(begin), bytes);
  return Status::success;
}

Status TraceDevice::do_event_create(Event& out) {
  out.id = ++last_event_;
  return Status::success;
}

Status TraceDevice::do_event_record(Event event, Stream stream) {
  recorded_[event.id] = stream.id;
  return Status::success;
}

Status TraceDevice::do_event_query(Event event) {
  const auto found = recorded_.find(event.id);
  return found == recorded_.end() || completed_.contains(found->second) ? Status::success : Status::not_ready;
}

Status TraceDevice::do_event_synchronize(Event event) {
  const auto found = recorded_.find(event.id);
  if (found == recorded_.end() || !completed_.insert(found->second).second) return Status::success;
  waited_.push_back({found->second});
  return Status::success;
}

Status TraceDevice::do_stream_create(Stream& out) {
  out.id = ++last_stream_;
  return Status::success;
}

}  // namespace drought
