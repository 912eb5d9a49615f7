// The simulated device's streams, fills, copies and launches: what is refused at the call, what
// waits, and what a piece of work finds when it runs at last.
#include <cstring>
#include <memory>
#include <vector>

#include "harness/device/host.hpp"
#include "harness/device/host_fault.hpp"
#include "harness/simt/host_block.hpp"

namespace drought {
namespace {

std::uintptr_t as_address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

// Up to here the driver copies pageable memory aside and returns (CUDA C API, synchronisation rules).
constexpr std::size_t staged_bytes_max = 64_KiB;

}  // namespace

/// A launch with all that it points to, which may be gone when it runs.
struct HostDevice::StoredLaunch {
  explicit StoredLaunch(const Launch& given)
      : launch(given),
        kernel(given.kernel),
        operands(given.operands.begin(), given.operands.end()),
        arguments(std::make_unique<std::byte[]>(given.arguments_bytes)) {
    if (given.arguments_bytes > 0) std::memcpy(arguments.get(), given.arguments, given.arguments_bytes);
    names.reserve(operands.size());
    for (Operand& operand : operands) operand.name = names.emplace_back(operand.name);
    launch.kernel = kernel;
    launch.operands = operands;
    launch.arguments = arguments.get();
  }
  StoredLaunch(const StoredLaunch&) = delete;
  StoredLaunch& operator=(const StoredLaunch&) = delete;

  Launch launch;
  std::string kernel;
  std::vector<std::string> names;
  std::vector<Operand> operands;
  std::unique_ptr<std::byte[]> arguments;
};

HostDevice::Extent HostDevice::extent(const void* data, std::size_t bytes, Access access) const {
  const std::uintptr_t begin = as_address(data);
  if (begin == 0 || bytes > UINTPTR_MAX - begin) return {};
  if (heap_space_.owns(begin)) {
    const auto block = heap_.block(begin);
    return {Place::device, block && bytes <= block->end() - begin};
  }
  for (const auto& block : {pool_.block(begin), graph_memory_.block(begin), managed_.block(begin)})
    if (block) return {Place::device, bytes <= block->end() - begin};
  if (async_space_.owns(begin) || managed_space_.owns(begin)) return {Place::device, false};
  if (vmm_space_.owns(begin)) return {Place::device, reachable(data, bytes, access)};
  if (const auto place = host_memory_.place(begin)) {
    const bool may = !place->read_only || access == Access::read;
    return {Place::pinned, may && bytes <= place->range.end() - begin};
  }
  return {Place::pageable, true};
}

bool HostDevice::reachable(const void* data, std::size_t bytes, Access access) const {
  std::uintptr_t at = as_address(data);
  if (bytes > UINTPTR_MAX - at) return false;
  const std::uintptr_t end = at + bytes;
  while (at < end) {
    std::uintptr_t until = heap_.mapped_until(at);
    if (until == 0) until = pool_.mapped_until(at);
    if (until == 0) until = graph_memory_.mapped_until(at);
    if (until == 0) until = managed_.mapped_until(at);
    if (until == 0) until = vmm_.mapped_until(at, access);
    if (until == 0) until = host_memory_.mapped_until(at, access);
    if (until == 0) return false;
    at = until;
  }
  return true;
}

Status HostDevice::do_stream_create(Stream& out) {
  if (const Status status = arrive(); status != Status::success) return status;
  out = streams_.create();
  return Status::success;
}

Status HostDevice::do_stream_destroy(Stream stream) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (stream.id == 0 || !streams_.exists(stream)) return Status::invalid_resource_handle;
  GraphNodes lost;
  captures_.destroy(stream, lost);
  graphs_.discard(std::move(lost));
  streams_.destroy(stream);
  return Status::success;
}

Status HostDevice::do_stream_synchronize(Stream stream) {
  if (dead_ != Status::success) return dead_;
  if (!streams_.exists(stream)) return Status::invalid_resource_handle;
  if (const Status status = captures_.admit_wait(stream); status != Status::success) return status;
  streams_.drain(stream);
  pool_.synchronized();
  return shown();
}

Status HostDevice::do_stream_wait_event(Stream stream, Event event) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(stream) || !streams_.exists(event)) return Status::invalid_resource_handle;
  bool captured = false;
  const Status status = captures_.wait_event(stream, event, captured);
  if (status == Status::success && !captured) streams_.wait(stream, event);
  return status;
}

Status HostDevice::do_event_create(Event& out) {
  if (const Status status = arrive(); status != Status::success) return status;
  out = streams_.create_event();
  return Status::success;
}

Status HostDevice::do_event_destroy(Event event) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(event)) return Status::invalid_resource_handle;
  streams_.destroy_event(event);
  return Status::success;
}

Status HostDevice::do_event_record(Event event, Stream stream) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(stream) || !streams_.exists(event)) return Status::invalid_resource_handle;
  bool captured = false;
  const Status status = captures_.record_event(event, stream, captured);
  if (status == Status::success && !captured) streams_.record(event, stream);
  return status;
}

Status HostDevice::do_event_query(Event event) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(event)) return Status::invalid_resource_handle;
  if (const Status status = captures_.admit_query(event); status != Status::success) return status;
  if (const Status status = shown(); status != Status::success) return status;
  return streams_.is_pending(event) ? Status::not_ready : Status::success;
}

Status HostDevice::do_event_synchronize(Event event) {
  if (dead_ != Status::success) return dead_;
  if (!streams_.exists(event)) return Status::invalid_resource_handle;
  if (const Status status = captures_.admit_query(event); status != Status::success) return status;
  streams_.drain(event);
  pool_.synchronized();
  return shown();
}

Status HostDevice::do_synchronize() {
  if (dead_ != Status::success) return dead_;
  if (const Status status = captures_.admit_wait_for_all(); status != Status::success) return status;
  const Status status = arrive_and_drain();
  pool_.synchronized();
  return status;
}

void HostDevice::submit(Stream stream, HostStreams::Work work) {
  if (captures_.records(stream)) {
    captures_.record(stream, {.work = std::move(work)});
  } else {
    streams_.enqueue(stream, std::move(work));
  }
}

void HostDevice::touch_managed(const void* data, std::size_t bytes) {
  if (bytes > 0 && managed_.block(as_address(data))) managed_.touch(as_address(data), bytes);
}

Status HostDevice::do_memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream) {
  if (const Status status = arrive_with_work(stream); status != Status::success || bytes == 0) return status;
  const Extent target = extent(to, bytes, Access::write);
  if (target.place == Place::pageable || !target.whole) return Status::invalid_value;
  submit(stream, [this, to, value, bytes] {
    if (!reachable(to, bytes, Access::write)) return Status::illegal_address;
    touch_managed(to, bytes);
    if (runs()) std::memset(to, value, bytes);
    return Status::success;
  });
  return Status::success;
}

Status HostDevice::do_memcpy(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (const Status status = arrive_with_work(stream); status != Status::success || bytes == 0) return status;
  const Extent target = extent(to, bytes, Access::write);
  const Extent source = extent(from, bytes, Access::read);
  if (!target.whole || !source.whole) return Status::invalid_value;
  const bool moves = runs() || (target.place != Place::device && source.place != Place::device);

  std::shared_ptr<std::byte[]> staged;
  const bool is_captured = captures_.records(stream);
  const bool stages = !is_captured && moves && source.place == Place::pageable && bytes <= staged_bytes_max;
  if (stages) {
    staged.reset(new std::byte[bytes]);
    std::memcpy(staged.get(), from, bytes);
  }
  submit(stream, [this, to, from, bytes, target, source, moves, staged] {
    if (target.place == Place::device && !reachable(to, bytes, Access::write)) return Status::illegal_address;
    if (source.place == Place::device && !reachable(from, bytes, Access::read))
      return Status::illegal_address;
    if (moves) std::memmove(to, staged ? staged.get() : from, bytes);
    return Status::success;
  });
  const bool reads_later = source.place == Place::pageable && !stages;
  if (is_captured || (target.place != Place::pageable && !reads_later)) return Status::success;
  streams_.drain(stream);
  return shown();
}

bool HostDevice::can_launch(const Launch& launch) const {
  const Dim3 grid = launch.grid, block = launch.block;
  // CUDA C programming guide, technical specifications: 2^31-1, 65535, 65535; z of a block up to 64.
  const bool grid_fits = grid.x <= 0x7fff'ffffu && grid.y <= 65535 && grid.z <= 65535;
  const bool block_fits = block.x <= 1024 && block.y <= 1024 && block.z <= 64;
  const std::size_t threads = block_fits ? block.volume() : 0;
  return grid_fits && grid.x > 0 && grid.y > 0 && grid.z > 0 && threads > 0 &&
         threads <= static_cast<std::size_t>(profile().threads_max) &&
         launch.shared_bytes <= profile().shared_bytes_max;
}

Status HostDevice::do_launch(const Launch& launch) {
  if (const Status status = arrive_with_work(launch.stream); status != Status::success) return status;
  if (!can_launch(launch)) return Status::invalid_value;
  if (!launch.host) return Status::not_supported;
  if (!launched_) {
    if (!budget_.take(profile().first_launch_bytes)) return Status::memory_allocation;
    launched_ = true;
  }
  submit(launch.stream, [this, stored = std::make_shared<StoredLaunch>(launch)] { return run(*stored); });
  return Status::success;
}

Status HostDevice::run(const StoredLaunch& stored) {
  const Launch& launch = stored.launch;
  for (const Operand& operand : launch.operands) {
    if (operand.bytes == 0) continue;
    // A probe's touch of device memory is left to the pages themselves. Host memory is always there
    // for the process that simulates the chip, so that rule has to be asked.
    const std::uintptr_t begin = as_address(operand.data);
    const bool on_device =
        begin == 0 || heap_space_.owns(begin) || vmm_space_.owns(begin) || async_space_.owns(begin);
    const bool asked = launch.declared || !runs() || !on_device;
    if (asked && !reachable(operand.data, operand.bytes, operand.access)) return Status::illegal_address;
    touch_managed(operand.data, operand.bytes);
  }
  if (!runs()) return Status::success;
  set_thread_order_seed(thread_orders_());
  const Status status = survive_fault([&launch] { return launch.host(launch); });
  if (status != Status::success && fault_report_.empty()) {
    fault_report_ = host_launch_report();
    fault_address_ = host_launch_fault();
  }
  return status == Status::success || is_sticky(status) ? status : Status::launch_failure;
}

}  // namespace drought
