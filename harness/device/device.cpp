#include "harness/device/device_call.hpp"

namespace drought {

Status Device::take_last_error() {
  const Status taken = last_error_;
  if (!is_sticky(taken)) last_error_ = Status::success;
  return taken;
}

Status Device::malloc(void*& out, std::size_t bytes, Tag tag) {
  const Status status = through({.site = Site::cudaMalloc, .bytes = bytes, .tag = tag, .lent = &out},
                                [&] { return do_malloc(out, bytes); });
  if (status != Status::success) out = nullptr;
  return status;
}

Status Device::free(void* block, Tag tag) {
  return through({.site = Site::cudaFree, .tag = tag, .data = block}, [&] { return do_free(block); });
}

Status Device::mem_info(MemInfo& out) {
  return through({.site = Site::cudaMemGetInfo, .info = &out}, [&] { return do_mem_info(out); });
}

Status Device::pointer_kind(const void* pointer, PointerKind& out) {
  return through({.site = Site::cudaPointerGetAttributes, .data = pointer},
                 [&] { return do_pointer_kind(pointer, out); });
}

Status Device::malloc_host(void*& out, std::size_t bytes, Tag tag) {
  const Status status = through({.site = Site::cudaMallocHost, .bytes = bytes, .tag = tag},
                                [&] { return do_malloc_host(out, bytes); });
  if (status != Status::success) out = nullptr;
  return status;
}

Status Device::free_host(void* block) {
  return through({.site = Site::cudaFreeHost, .data = block}, [&] { return do_free_host(block); });
}

Status Device::host_register(const void* begin, std::size_t bytes, HostRegistration how) {
  return through({.site = Site::cudaHostRegister, .bytes = bytes, .data = begin},
                 [&] { return do_host_register(begin, bytes, how); });
}

Status Device::host_unregister(const void* begin) {
  return through({.site = Site::cudaHostUnregister, .data = begin},
                 [&] { return do_host_unregister(begin); });
}

Status Device::mem_create(MemoryHandle& out, std::size_t bytes, Tag tag) {
  const Status status = through({.site = Site::cuMemCreate, .bytes = bytes, .tag = tag},
                                [&] { return do_mem_create(out, bytes); });
  if (status != Status::success) out = {};
  return status;
}

Status Device::mem_release(MemoryHandle handle) {
  return through({.site = Site::cuMemRelease}, [&] { return do_mem_release(handle); });
}

Status Device::address_reserve(void*& out, std::size_t bytes) {
  const Status status = through({.site = Site::cuMemAddressReserve, .bytes = bytes},
                                [&] { return do_address_reserve(out, bytes); });
  if (status != Status::success) out = nullptr;
  return status;
}

Status Device::address_free(void* begin, std::size_t bytes) {
  return through({.site = Site::cuMemAddressFree, .bytes = bytes, .data = begin},
                 [&] { return do_address_free(begin, bytes); });
}

Status Device::mem_map(void* begin, std::size_t bytes, std::size_t offset, MemoryHandle handle) {
  return through({.site = Site::cuMemMap, .bytes = bytes, .data = begin},
                 [&] { return do_mem_map(begin, bytes, offset, handle); });
}

Status Device::mem_unmap(void* begin, std::size_t bytes) {
  return through({.site = Site::cuMemUnmap, .bytes = bytes, .data = begin},
                 [&] { return do_mem_unmap(begin, bytes); });
}

Status Device::mem_set_access(void* begin, std::size_t bytes, Protection protection) {
  return through({.site = Site::cuMemSetAccess,
                  .bytes = bytes,
                  .data = begin,
                  .writable = protection == Protection::read_write},
                 [&] { return do_mem_set_access(begin, bytes, protection); });
}

Status Device::stream_create(Stream& out) {
  return through({.site = Site::cudaStreamCreate}, [&] { return do_stream_create(out); });
}

Status Device::stream_destroy(Stream stream) {
  return through({.site = Site::cudaStreamDestroy, .stream = stream},
                 [&] { return do_stream_destroy(stream); });
}

Status Device::stream_synchronize(Stream stream) {
  return through({.site = Site::cudaStreamSynchronize, .stream = stream},
                 [&] { return do_stream_synchronize(stream); });
}

Status Device::stream_wait_event(Stream stream, Event event) {
  Call call{.site = Site::cudaStreamWaitEvent, .stream = stream, .event = event.id};
  call.captured = recordings_.captures(event);
  return through(call, [&] {
    const Status status = do_stream_wait_event(stream, event);
    if (status == Status::success) recordings_.waits(stream, event);
    return status;
  });
}

Status Device::event_create(Event& out) {
  return through({.site = Site::cudaEventCreate}, [&] { return do_event_create(out); });
}

Status Device::event_destroy(Event event) {
  return through({.site = Site::cudaEventDestroy, .event = event.id},
                 [&] { return do_event_destroy(event); });
}

Status Device::event_record(Event event, Stream stream) {
  Call call{.site = Site::cudaEventRecord, .stream = stream, .event = event.id};
  call.captured = recordings_.captures(stream);
  return through(call, [&] {
    const Status status = do_event_record(event, stream);
    if (status == Status::success) recordings_.recorded(event, stream);
    return status;
  });
}

Status Device::event_query(Event event) {
  return through({.site = Site::cudaEventQuery, .event = event.id}, [&] { return do_event_query(event); });
}

Status Device::event_synchronize(Event event) {
  return through({.site = Site::cudaEventSynchronize, .event = event.id},
                 [&] { return do_event_synchronize(event); });
}

Status Device::synchronize() {
  return through({.site = Site::cudaDeviceSynchronize}, [&] { return do_synchronize(); });
}

Status Device::memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream, Judged judged) {
  const Operand operands[] = {{"to", to, bytes, Access::write}};
  return through({.site = Site::cudaMemset,
                  .bytes = bytes,
                  .stream = stream,
                  .data = to,
                  .operands = operands,
                  .declared = judged == Judged::yes,
                  .captured = recordings_.captures(stream)},
                 [&] {
                   const Status status = do_memset(to, value, bytes, stream);
                   if (status == Status::success && judged == Judged::yes)
                     recordings_.add(stream, "cudaMemset", operands);
                   return status;
                 });
}

Status Device::memcpy(void* to, const void* from, std::size_t bytes, Stream stream, Judged judged) {
  const Operand operands[] = {{"to", to, bytes, Access::write, true},
                              {"from", from, bytes, Access::read, true}};
  return through({.site = Site::cudaMemcpy,
                  .bytes = bytes,
                  .stream = stream,
                  .data = to,
                  .operands = operands,
                  .declared = judged == Judged::yes,
                  .captured = recordings_.captures(stream)},
                 [&] {
                   const Status status = do_memcpy(to, from, bytes, stream);
                   if (status == Status::success && judged == Judged::yes)
                     recordings_.add(stream, "cudaMemcpy", operands);
                   return status;
                 });
}

Status Device::launch(const Launch& launch) {
  return through({.site = Site::launch,
                  .bytes = launch.shared_bytes,
                  .stream = launch.stream,
                  .operands = launch.operands,
                  .kernel = launch.kernel,
                  .declared = launch.declared,
                  .captured = recordings_.captures(launch.stream)},
                 [&] {
                   const Status status = do_launch(launch);
                   if (status == Status::success && launch.declared)
                     recordings_.add(launch.stream, launch.kernel, launch.operands);
                   return status;
                 });
}

}  // namespace drought
