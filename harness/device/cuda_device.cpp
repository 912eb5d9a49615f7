// Memory, peers, work, and the way in and out. cuda_vmm.cpp and cuda_streams.cpp hold the rest.
#include "harness/device/cuda_device.hpp"

#include <algorithm>
#include <cstdio>

namespace drought {
namespace {

// More host memory pinned at once has made whole machines unresponsive, and no scenario of this lane
// needs more.
constexpr std::size_t kPinnedBytesMax = 16_GiB;

std::size_t sum(const std::map<void*, std::size_t>& ranges) {
  std::size_t bytes = 0;
  for (const auto& [begin, size] : ranges) bytes += size;
  return bytes;
}

/// A call of the destructor: what a dead context refuses is expected, anything else is said aloud.
void closing(Status status, const char* call) {
  if (status != Status::success && !is_sticky(status))
    std::fprintf(stderr, "cuda lane: %s answered %s while the device was closed\n", call,
                 name(status).c_str());
}

}  // namespace

CudaDevice::CudaDevice(const Profile& profile, const DeviceOptions& options, const CudaDriver& driver,
                       std::size_t gpu_bytes)
    : Device(profile, options.work),
      driver_(driver),
      gpu_bytes_(gpu_bytes),
      capacity_bytes_(
          std::min(gpu_bytes, options.capacity_bytes ? options.capacity_bytes : profile.total_bytes)),
      footprint_(this->profile()) {}

CudaDevice::~CudaDevice() {
  closing(as_status(cudaDeviceSynchronize()), "cudaDeviceSynchronize");
  for (const auto& [id, event] : events_) closing(as_status(cudaEventDestroy(event)), "cudaEventDestroy");
  for (const auto& [id, stream] : streams_)
    closing(as_status(cudaStreamDestroy(stream)), "cudaStreamDestroy");
  give_back_address_space();
  for (const auto& [block, bytes] : footprint_.blocks())
    closing(as_status(cudaFree(reinterpret_cast<void*>(block))), "cudaFree");
  for (const auto& [begin, bytes] : registered_)
    closing(as_status(cudaHostUnregister(begin)), "cudaHostUnregister");
  for (const auto& [block, bytes] : pinned_) closing(as_status(cudaFreeHost(block)), "cudaFreeHost");
}

std::size_t CudaDevice::room_bytes() const {
  std::size_t taken = profile().context_bytes + first_launch_bytes_ + footprint_.bytes() + created_bytes_;
  for (const auto& [name, peer] : peers_) taken += peer.charge_bytes;
  return taken < capacity_bytes_ ? capacity_bytes_ - taken : 0;
}

bool CudaDevice::fits(std::size_t bytes) const {
  return !capped() || footprint_.cost_alone(bytes) <= room_bytes();
}

void CudaDevice::remember(const void* begin, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  std::size_t& known = ever_[address];
  known = std::max(known, bytes);
}

Status CudaDevice::do_malloc(void*& out, std::size_t bytes) {
  // A small block may find room in a chunk that is paid for, so the driver is asked first, and what it
  // gave is returned if that took a chunk too many.
  const bool may_share = bytes <= profile().small_limit_bytes;
  if (!may_share && !fits(bytes)) return Status::memory_allocation;
  const std::size_t room = room_bytes();
  const Status status = as_status(cudaMalloc(&out, bytes));
  if (status != Status::success || bytes == 0) return status;
  const std::size_t cost = footprint_.add(out, bytes);
  if (capped() && cost > room) {
    footprint_.remove(out);
    const Status returned = as_status(cudaFree(out));
    return returned == Status::success ? Status::memory_allocation : returned;
  }
  remember(out, bytes);
  if (!origin_) origin_ = reinterpret_cast<std::uintptr_t>(out);
  return status;
}

Status CudaDevice::do_free(void* block) {
  const Status status = as_status(cudaFree(block));
  if (status == Status::success) footprint_.remove(block);
  return status;
}

Status CudaDevice::do_mem_info(MemInfo& out) {
  MemInfo real;
  const Status status = as_status(cudaMemGetInfo(&real.free_bytes, &real.total_bytes));
  if (status != Status::success) return status;
  out = capped() ? MemInfo{std::min(real.free_bytes, room_bytes()), capacity_bytes_} : real;
  return status;
}

Status CudaDevice::do_pointer_kind(const void* pointer, PointerKind& out) {
  cudaPointerAttributes attributes{};
  const Status status = as_status(cudaPointerGetAttributes(&attributes, pointer));
  if (status != Status::success) return status;
  switch (attributes.type) {
    case cudaMemoryTypeHost:
      out = PointerKind::host;
      break;
    case cudaMemoryTypeDevice:
    case cudaMemoryTypeManaged:
      out = PointerKind::device;
      break;
    default:
      out = PointerKind::unregistered;
  }
  return status;
}

Status CudaDevice::do_malloc_host(void*& out, std::size_t bytes) {
  if (bytes > kPinnedBytesMax - std::min(kPinnedBytesMax, sum(pinned_))) return Status::memory_allocation;
  const Status status = as_status(cudaMallocHost(&out, bytes));
  if (status == Status::success && bytes > 0) pinned_[out] = bytes;
  return status;
}

Status CudaDevice::do_free_host(void* block) {
  const Status status = as_status(cudaFreeHost(block));
  if (status == Status::success) pinned_.erase(block);
  return status;
}

Status CudaDevice::do_host_register(const void* begin, std::size_t bytes, HostRegistration how) {
  const std::size_t most = profile().host_register_limit_bytes
                               ? std::min(kPinnedBytesMax, profile().host_register_limit_bytes)
                               : kPinnedBytesMax;
  if (bytes > most - std::min(most, sum(registered_))) return Status::memory_allocation;
  unsigned flags = cudaHostRegisterDefault;
  if (how.mapped) flags |= cudaHostRegisterMapped;
  if (how.read_only) flags |= cudaHostRegisterReadOnly;
  void* const address = const_cast<void*>(begin);  // The runtime's parameter; ReadOnly keeps the promise.
  const Status status = as_status(cudaHostRegister(address, bytes, flags));
  if (status == Status::success) registered_[address] = bytes;
  return status;
}

Status CudaDevice::do_host_unregister(const void* begin) {
  void* const address = const_cast<void*>(begin);
  const Status status = as_status(cudaHostUnregister(address));
  if (status == Status::success) registered_.erase(address);
  return status;
}

Status CudaDevice::is_on_device(const void* pointer, bool& out) const {
  cudaPointerAttributes attributes{};
  const Status status = as_status(cudaPointerGetAttributes(&attributes, pointer));
  if (status != Status::success) return status;
  out = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  if (attributes.type != cudaMemoryTypeUnregistered) return status;
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const auto after = ever_.upper_bound(address);
  if (after == ever_.begin()) return status;
  const auto& [begin, bytes] = *std::prev(after);
  out = address - begin < bytes;
  return status;
}

bool CudaDevice::is_live(const void* begin, std::size_t bytes) const {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const auto& blocks = footprint_.blocks();
  if (const auto after = blocks.upper_bound(address); after != blocks.begin()) {
    const auto& [start, size] = *std::prev(after);
    if (address - start < size) return bytes <= size - (address - start);
  }
  std::size_t covered = 0;
  for (auto after = mappings_.upper_bound(address); covered < bytes; ++after) {
    if (after == mappings_.begin()) return false;
    const auto& [start, mapping] = *std::prev(after);
    const std::size_t skipped = address + covered - start;
    if (skipped >= mapping.bytes) return false;
    covered += mapping.bytes - skipped;
    if (after == mappings_.end()) break;
  }
  return covered >= bytes;
}

Status CudaDevice::do_memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  if (work() == Work::shapes) return is_live(to, bytes) ? Status::success : Status::invalid_value;
  return as_status(cudaMemsetAsync(to, value, bytes, queue));
}

Status CudaDevice::do_memcpy(void* to, const void* from, std::size_t bytes, Stream stream) {
  cudaStream_t queue{};
  if (!find(stream, queue)) return Status::invalid_resource_handle;
  // cudaMemcpyDefault would take a freed device pointer for pageable host memory and touch it here.
  bool to_device = false, from_device = false;
  if (const Status status = is_on_device(to, to_device); status != Status::success) return status;
  if (const Status status = is_on_device(from, from_device); status != Status::success) return status;
  const cudaMemcpyKind kind = to_device     ? from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                              : from_device ? cudaMemcpyDeviceToHost
                                            : cudaMemcpyHostToHost;
  return as_status(cudaMemcpyAsync(to, from, bytes, kind, queue));
}

Status CudaDevice::do_launch(const Launch& launch) {
  cudaStream_t queue{};
  if (!find(launch.stream, queue)) return Status::invalid_resource_handle;
  if (work() == Work::shapes) {
    const std::size_t threads = launch.block.volume();
    const bool runs = launch.grid.volume() > 0 && threads > 0 &&
                      threads <= static_cast<std::size_t>(profile().threads_max) &&
                      launch.shared_bytes <= profile().shared_bytes_max;
    return runs ? Status::success : Status::invalid_value;
  }
  if (!launch.cuda) return Status::not_supported;
  const Status status = launch.cuda(launch, queue);
  if (status == Status::success)
    first_launch_bytes_ = profile().first_launch_bytes;
  else
    (void)cudaGetLastError();
  return status;
}

Status CudaDevice::set_peer(std::string_view name, std::size_t bytes) {
  auto peer = peers_.find(name);
  const bool fresh = peer == peers_.end();
  if (bytes == 0) {
    if (fresh) return Status::success;
    (void)peer->second.child.finish();
    peers_.erase(peer);
    return Status::success;
  }
  const std::size_t charge_bytes = profile().peer_context_bytes + footprint_.cost_alone(bytes);
  const std::size_t held_bytes = fresh ? 0 : peer->second.charge_bytes;
  if (capped() && (charge_bytes < bytes || charge_bytes > room_bytes() + held_bytes))
    return Status::memory_allocation;
  if (fresh) peer = peers_.emplace(name, Peer{Child(job("peer")), 0}).first;
  Child& child = peer->second.child;
  const bool told = child.send_line("hold " + std::to_string(bytes));
  const auto answer = told ? child.read_line() : std::nullopt;
  if (answer == "ok") {
    peer->second.charge_bytes = charge_bytes;
    return Status::success;
  }
  if (fresh || answer != "oom") peers_.erase(peer);
  return answer == "oom" ? Status::memory_allocation : Status::devices_unavailable;
}

std::uint64_t CudaDevice::offset_of(const void* pointer) const {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  if (const auto after = reservations_.upper_bound(address); after != reservations_.begin()) {
    const auto& [begin, reservation] = *std::prev(after);
    if (address - begin < reservation.bytes) return (reservation.number << 46) + (address - begin);
  }
  return address - origin_;
}

std::unique_ptr<Device> make_cuda_device(const Profile& profile, const DeviceOptions& options,
                                         std::string& why_not) {
  int version = 0, count = 0;
  const cudaError_t asked = cudaDriverGetVersion(&version);
  if (as_status(asked) != Status::success || version == 0) {
    why_not = "no NVIDIA driver on this machine";
    return nullptr;
  }
  const auto refused = [&](const char* call, cudaError_t error) {
    if (as_status(error) == Status::success) return false;
    why_not = std::string(call) + " answered " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error);
    return true;
  };
  if (profile.unified_memory) {
    why_not =
        "profile " + std::string(profile.name) + " has one memory for host and device; GPU 0 has its own";
    return nullptr;
  }
  if (refused("cudaGetDeviceCount", cudaGetDeviceCount(&count))) return nullptr;
  if (refused("cudaSetDevice", cudaSetDevice(0))) return nullptr;
  std::size_t free_bytes = 0, gpu_bytes = 0;
  if (refused("cudaMemGetInfo", cudaMemGetInfo(&free_bytes, &gpu_bytes))) return nullptr;
  CudaDriver driver;
  if (!driver.load(why_not)) return nullptr;
  return std::make_unique<CudaDevice>(profile, options, driver, gpu_bytes);
}

}  // namespace drought
