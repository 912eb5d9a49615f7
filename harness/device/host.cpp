#include "harness/device/host.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

// Offsets of different kinds of memory never meet, whatever the capacity.
constexpr std::uint64_t vmm_first_offset = std::uint64_t{1} << 52;
constexpr std::uint64_t async_first_offset = std::uint64_t{1} << 54;
constexpr std::uint64_t managed_first_offset = std::uint64_t{1} << 56;
constexpr std::uint64_t host_first_offset = std::uint64_t{1} << 60;

std::uintptr_t as_address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
void* as_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

Profile with_capacity(Profile profile, std::size_t capacity_bytes) {
  if (capacity_bytes != 0) profile.total_bytes = capacity_bytes;
  if (profile.total_bytes <= profile.context_bytes) {
    throw std::invalid_argument("a device of " + format_bytes(profile.total_bytes) +
                                " does not hold its own context of " + format_bytes(profile.context_bytes));
  }
  profile.address_space_bytes = std::min(profile.address_space_bytes, reservation_bytes_max());
  return profile;
}

// Room enough that scattered blocks find a hole in the first region, which keeps addresses in order.
std::size_t region_bytes(const Profile& profile, std::size_t times) {
  if (reservation_bytes_max() < 1_TiB) times = 1;
  const std::size_t wanted = round_up(profile.total_bytes, 1_GiB);
  return wanted > reservation_bytes_max() / times ? reservation_bytes_max() : wanted * times;
}

}  // namespace

HostDevice::HostDevice(const Profile& given, const DeviceOptions& options)
    : Device(with_capacity(given, options.capacity_bytes), options.work),
      budget_(profile().total_bytes),
      heap_space_(
          {.region_bytes = region_bytes(profile(), 4), .granularity_bytes = profile().granularity_bytes}),
      vmm_space_({.region_bytes = region_bytes(profile(), 8),
                  .first_offset = vmm_first_offset,
                  .granularity_bytes = profile().granularity_bytes}),
      // Chunks of the pool are aligned to their size, so that offsets do not depend on where the region lies.
      async_space_({.region_bytes = region_bytes(profile(), 4),
                    .first_offset = async_first_offset,
                    .granularity_bytes = profile().pool_chunk_bytes}),
      managed_space_({.region_bytes = region_bytes(profile(), 8),
                      .first_offset = managed_first_offset,
                      .granularity_bytes = profile().granularity_bytes}),
      heap_(profile(), budget_, heap_space_, options.work == Work::full),
      vmm_(profile(), budget_, vmm_space_, options.work == Work::full && profile().has_vmm),
      host_memory_(profile(), budget_, host_first_offset),
      streams_(options.seed),
      pool_(profile(), budget_, async_space_, streams_, options.work == Work::full),
      managed_(profile(), budget_, managed_space_, options.work == Work::full),
      graph_memory_(profile(), budget_, async_space_, options.work == Work::full),
      graphs_(profile(), budget_, graph_memory_),
      thread_orders_(Random(options.seed).split(1)) {
  budget_.take(profile().context_bytes);
}

Status HostDevice::arrive() {
  if (dead_ == Status::success) streams_.progress();
  return dead_;
}

Status HostDevice::shown() {
  if (dead_ == Status::success) dead_ = streams_.fault();
  return dead_;
}

Status HostDevice::arrive_unsafe() {
  const Status status = arrive();
  return status == Status::success ? captures_.admit_unsafe() : status;
}

Status HostDevice::arrive_with_work(Stream stream) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(stream)) return Status::invalid_resource_handle;
  return captures_.admit_work(stream);
}

Status HostDevice::arrive_and_drain() {
  if (dead_ == Status::success) streams_.drain();
  return shown();
}

Status HostDevice::set_peer(std::string_view name, std::size_t bytes) {
  const auto found = peers_.find(name);
  const std::size_t before = found == peers_.end() ? 0 : found->second;
  const std::size_t context = profile().peer_context_bytes;
  if (bytes > profile().total_bytes) return Status::memory_allocation;
  const std::size_t after = bytes == 0 ? 0 : bytes + context;
  if (after > before && !budget_.take(after - before)) return Status::memory_allocation;
  if (after < before) budget_.give(before - after);
  if (found != peers_.end()) peers_.erase(found);
  if (after != 0) peers_.emplace(name, after);
  return Status::success;
}

std::size_t HostDevice::peer_bytes(std::string_view name) const {
  const auto found = peers_.find(name);
  return found == peers_.end() ? 0 : found->second - profile().peer_context_bytes;
}

std::size_t HostDevice::held_bytes() const {
  std::size_t held = budget_.total_bytes() - budget_.free_bytes() - profile().context_bytes;
  if (launched_) held -= profile().first_launch_bytes;
  for (const auto& [name, cost] : peers_) held -= cost;
  return held;
}

std::uint64_t HostDevice::offset_of(const void* pointer) const {
  const std::uintptr_t address = as_address(pointer);
  if (const auto offset = heap_space_.offset_of(address)) return *offset;
  for (const AddressSpace* space : {&vmm_space_, &async_space_, &managed_space_})
    if (const auto offset = space->offset_of(address)) return *offset;
  const auto place = host_memory_.place(address);
  return place ? place->range.value + (address - place->range.begin) : UINT64_MAX;
}

bool HostDevice::reclaim(std::size_t bytes) {
  if (bytes > budget_.total_bytes()) return false;
  const std::size_t wanted = round_up(bytes, profile().granularity_bytes);
  const std::size_t free_bytes = budget_.free_bytes();
  if (free_bytes + pool_.idle_bytes() + managed_.held_bytes() < wanted) return false;
  pool_.trim(0);
  managed_.make_room(wanted);
  return budget_.free_bytes() > free_bytes;
}

Status HostDevice::do_malloc(void*& out, std::size_t bytes) {
  if (const Status status = arrive_unsafe(); status != Status::success) return status;
  out = nullptr;
  if (bytes == 0) return Status::success;
  std::uintptr_t begin = 0;
  Status status = heap_.malloc(begin, bytes);
  if (status == Status::memory_allocation && reclaim(bytes)) status = heap_.malloc(begin, bytes);
  if (status == Status::success) out = as_pointer(begin);
  return status;
}

Status HostDevice::do_free(void* block) {
  if (const Status status = arrive_unsafe(); status != Status::success) return status;
  if (const Status status = arrive_and_drain(); status != Status::success || !block) return status;
  const std::uintptr_t begin = as_address(block);
  if (pool_.block(begin)) return pool_.free(begin, {});
  if (graph_memory_.is_known(begin)) return graph_memory_.free(begin);
  if (managed_.block(begin)) return managed_.free(begin);
  return heap_.free(begin);
}

Status HostDevice::do_mem_info(MemInfo& out) {
  if (const Status status = arrive(); status != Status::success) return status;
  out = {budget_.free_bytes(), budget_.total_bytes()};
  return Status::success;
}

Status HostDevice::do_pointer_kind(const void* pointer, PointerKind& out) {
  if (const Status status = arrive(); status != Status::success) return status;
  const std::uintptr_t address = as_address(pointer);
  const bool is_lent = heap_.block(address) || vmm_.is_mapped(address) || pool_.block(address) ||
                       graph_memory_.mapped_until(address) != 0 || managed_.block(address);
  if (is_lent) {
    out = PointerKind::device;
  } else {
    out = host_memory_.place(address) ? PointerKind::host : PointerKind::unregistered;
  }
  return Status::success;
}

Status HostDevice::do_malloc_host(void*& out, std::size_t bytes) {
  if (const Status status = arrive_unsafe(); status != Status::success) return status;
  out = nullptr;
  if (bytes == 0) return Status::success;
  std::uintptr_t begin = 0;
  const Status status = host_memory_.malloc(begin, bytes);
  if (status == Status::success) out = as_pointer(begin);
  return status;
}

Status HostDevice::do_free_host(void* block) {
  if (const Status status = arrive_unsafe(); status != Status::success) return status;
  if (const Status status = arrive_and_drain(); status != Status::success) return status;
  return block ? host_memory_.free(as_address(block)) : Status::success;
}

Status HostDevice::do_host_register(const void* begin, std::size_t bytes, HostRegistration how) {
  if (const Status status = arrive(); status != Status::success) return status;
  return host_memory_.add(as_address(begin), bytes, how);
}

Status HostDevice::do_host_unregister(const void* begin) {
  if (const Status status = arrive_and_drain(); status != Status::success) return status;
  return host_memory_.remove(as_address(begin));
}

Status HostDevice::do_mem_create(MemoryHandle& out, std::size_t bytes) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!profile().has_vmm) return Status::not_supported;
  const Status status = vmm_.create(out, bytes);
  return status == Status::memory_allocation && reclaim(bytes) ? vmm_.create(out, bytes) : status;
}

Status HostDevice::do_mem_release(MemoryHandle handle) {
  if (const Status status = arrive(); status != Status::success) return status;
  return profile().has_vmm ? vmm_.release(handle) : Status::not_supported;
}

Status HostDevice::do_address_reserve(void*& out, std::size_t bytes) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!profile().has_vmm) return Status::not_supported;
  std::uintptr_t begin = 0;
  const Status status = vmm_.reserve(begin, bytes);
  if (status == Status::success) out = as_pointer(begin);
  return status;
}

Status HostDevice::do_address_free(void* begin, std::size_t bytes) {
  if (const Status status = arrive(); status != Status::success) return status;
  return profile().has_vmm ? vmm_.free_addresses(as_address(begin), bytes) : Status::not_supported;
}

Status HostDevice::do_mem_map(void* begin, std::size_t bytes, std::size_t offset, MemoryHandle handle) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!profile().has_vmm) return Status::not_supported;
  return vmm_.map({as_address(begin), bytes}, offset, handle);
}

Status HostDevice::do_mem_unmap(void* begin, std::size_t bytes) {
  if (const Status status = arrive(); status != Status::success) return status;
  return profile().has_vmm ? vmm_.unmap(as_address(begin), bytes) : Status::not_supported;
}

Status HostDevice::do_mem_set_access(void* begin, std::size_t bytes, Protection protection) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!profile().has_vmm) return Status::not_supported;
  return vmm_.set_access(as_address(begin), bytes, protection);
}

std::unique_ptr<Device> make_host_device(const Profile& profile, const DeviceOptions& options) {
  return std::make_unique<HostDevice>(profile, options);
}

}  // namespace drought
