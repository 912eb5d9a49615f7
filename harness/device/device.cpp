#include "harness/device/device.hpp"

namespace drought {

template <typename Made>
Status Device::through(Call call, Made&& made) {
  Status status;
  if (!gate_) {
    status = made();
  } else {
    gate_->enter(call);
    status = call.refused ? *call.refused : made();
    if (!call.refused && call.answer) status = *call.answer;
    gate_->leave(call, status);
  }
  // cudaErrorNotReady is an answer, not an error: it does not enter the slot.
  if (status != Status::success && status != Status::not_ready) last_error_ = status;
  return status;
}

Status Device::take_last_error() {
  const Status taken = last_error_;
  if (!is_sticky(taken)) last_error_ = Status::success;
  return taken;
}

Status Device::malloc(void*& out, std::size_t bytes, Tag tag) {
  const Status status =
      through({.site = Site::cudaMalloc, .bytes = bytes, .tag = tag}, [&] { return do_malloc(out, bytes); });
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
  return through({.site = Site::cudaStreamWaitEvent, .stream = stream, .event = event.id},
                 [&] { return do_stream_wait_event(stream, event); });
}

Status Device::event_create(Event& out) {
  return through({.site = Site::cudaEventCreate}, [&] { return do_event_create(out); });
}

Status Device::event_destroy(Event event) {
  return through({.site = Site::cudaEventDestroy, .event = event.id},
                 [&] { return do_event_destroy(event); });
}

Status Device::event_record(Event event, Stream stream) {
  return through({.site = Site::cudaEventRecord, .stream = stream, .event = event.id},
                 [&] { return do_event_record(event, stream); });
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

Status Device::memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream) {
  const Operand operands[] = {{"to", to, bytes, Access::write}};
  return through(
      {.site = Site::cudaMemset, .bytes = bytes, .stream = stream, .data = to, .operands = operands},
      [&] { return do_memset(to, value, bytes, stream); });
}

Status Device::memcpy(void* to, const void* from, std::size_t bytes, Stream stream) {
  const Operand operands[] = {{"to", to, bytes, Access::write}, {"from", from, bytes, Access::read}};
  return through(
      {.site = Site::cudaMemcpy, .bytes = bytes, .stream = stream, .data = to, .operands = operands},
      [&] { return do_memcpy(to, from, bytes, stream); });
}

Status Device::launch(const Launch& launch) {
  return through({.site = Site::launch,
                  .bytes = launch.shared_bytes,
                  .stream = launch.stream,
                  .operands = launch.operands,
                  .kernel = launch.kernel,
                  .declared = launch.declared},
                 [&] { return do_launch(launch); });
}

}  // namespace drought
