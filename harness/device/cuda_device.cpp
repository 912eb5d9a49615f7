// Memory, its accounting, peers, and the way in and out.
#include "harness/device/cuda_device.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

// More host memory pinned at once has made whole machines unresponsive, and no scenario of this lane
// needs more.
constexpr std::size_t kPinnedBytesMax = 16_GiB;

template <typename Ranges>
std::size_t sum(const Ranges& ranges) {
  std::size_t bytes = 0;
  for (const auto& [begin, range] : ranges) bytes += range.bytes;
  return bytes;
}

/// The range that holds `address`, or null.
template <typename Ranges>
const typename Ranges::value_type* containing(const Ranges& ranges, std::uintptr_t address) {
  const auto after = ranges.upper_bound(address);
  if (after == ranges.begin()) return nullptr;
  const auto& found = *std::prev(after);
  return address - found.first < found.second.bytes ? &found : nullptr;
}

Profile with_capacity(Profile profile, std::size_t capacity_bytes, std::size_t gpu_bytes) {
  if (capacity_bytes != 0) profile.total_bytes = capacity_bytes;
  profile.total_bytes = std::min(profile.total_bytes, gpu_bytes);
  if (profile.total_bytes <= profile.context_bytes)
    throw std::invalid_argument("a device of " + format_bytes(profile.total_bytes) +
                                " does not hold its own context of " + format_bytes(profile.context_bytes));
  return profile;
}

}  // namespace

CudaDevice::CudaDevice(const Profile& profile, const DeviceOptions& options, const CudaDriver& driver,
                       std::size_t gpu_bytes)
    : Device(with_capacity(profile, options.capacity_bytes, gpu_bytes), options.work),
      driver_(driver),
      gpu_bytes_(gpu_bytes),
      repeatable_(options.repeatable),
      footprint_(this->profile()) {}

CudaDevice::~CudaDevice() {
  give_back_graphs();
  closing(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (const auto& [id, event] : events_) closing(cudaEventDestroy(event), "cudaEventDestroy");
  for (const auto& [id, stream] : streams_) closing(cudaStreamDestroy(stream), "cudaStreamDestroy");
  give_back_pool();
  give_back_address_space();
  for (const auto& [block, bytes] : footprint_.blocks()) closing(cudaFree(as_pointer(block)), "cudaFree");
  for (const auto& [begin, range] : registered_)
    closing(cudaHostUnregister(as_pointer(begin)), "cudaHostUnregister");
  for (const auto& [begin, range] : pinned_) closing(cudaFreeHost(as_pointer(begin)), "cudaFreeHost");
}

std::size_t CudaDevice::room_bytes() const {
  std::size_t taken = profile().context_bytes + first_launch_bytes_ + footprint_.bytes() + created_bytes_ +
                      pooled_bytes() + graph_instances_.size() * profile().graph_bytes;
  for (const auto& [name, peer] : peers_) taken += peer.charge_bytes;
  return taken < profile().total_bytes ? profile().total_bytes - taken : 0;
}

bool CudaDevice::fits(std::size_t bytes) const {
  return !capped() || footprint_.cost_alone(bytes) <= room_bytes();
}

void CudaDevice::remember(const void* begin, std::size_t bytes) {
  Lent& known = lent_[as_address(begin)];
  known.bytes = std::max(known.bytes, bytes);
}

void CudaDevice::add(HostRanges& ranges, const void* begin, std::size_t bytes) {
  ranges[as_address(begin)] = {bytes, host_offset_};
  host_offset_ += round_up(bytes, 4_KiB);
}

Status CudaDevice::do_malloc(void*& out, std::size_t bytes) {
  // A block below a granule may find room in one that is paid for, so the driver is asked first, and
  // what it gave is returned if that took a granule too many.
  const bool may_share = bytes < profile().granularity_bytes;
  // The driver takes idle memory of its pool back by itself; under a cap it sees no need to.
  if (capped() && !may_share && !fits(bytes) && pool_)
    if (const Status status = do_pool_trim(0); status != Status::success) return status;
  if (!may_share && !fits(bytes)) return Status::memory_allocation;
  if (managed_bytes_ > 0 && would_oversubscribe(bytes)) return Status::memory_allocation;
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
  if (!origin_) origin_ = as_address(out);
  return status;
}

Status CudaDevice::do_free(void* block) {
  ++waits_;
  const Status status = as_status(cudaFree(block));
  if (status != Status::success) return status;
  footprint_.remove(block);
  async_blocks_.erase(as_address(block));
  if (const auto managed = managed_.find(as_address(block)); managed != managed_.end()) {
    managed_bytes_ -= managed->second;
    managed_.erase(managed);
  }
  return status;
}

Status CudaDevice::do_mem_info(MemInfo& out) {
  MemInfo real;
  const Status status = as_status(cudaMemGetInfo(&real.free_bytes, &real.total_bytes));
  if (status != Status::success) return status;
  out = capped() ? MemInfo{std::min(real.free_bytes, room_bytes()), profile().total_bytes} : real;
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
  if (status == Status::success && bytes > 0) add(pinned_, out, bytes);
  return status;
}

Status CudaDevice::do_free_host(void* block) {
  const Status status = as_status(cudaFreeHost(block));
  if (status == Status::success) pinned_.erase(as_address(block));
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
  if (status == Status::success) add(registered_, begin, bytes);
  return status;
}

Status CudaDevice::do_host_unregister(const void* begin) {
  void* const address = const_cast<void*>(begin);
  const Status status = as_status(cudaHostUnregister(address));
  if (status == Status::success) registered_.erase(as_address(begin));
  return status;
}

bool CudaDevice::was_lent(const void* pointer) const {
  return containing(lent_, as_address(pointer)) != nullptr;
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
  if (fresh) peer = peers_.emplace(name, Peer{Child(job("peer")), 0, 0}).first;
  Child& child = peer->second.child;
  const bool told = child.send_line("hold " + std::to_string(bytes));
  const auto answer = told ? child.read_line() : std::nullopt;
  if (answer == "ok") {
    peer->second.charge_bytes = charge_bytes;
    peer->second.bytes = bytes;
    return Status::success;
  }
  if (fresh || answer != "oom") peers_.erase(peer);
  return answer == "oom" ? Status::memory_allocation : Status::devices_unavailable;
}

std::uint64_t CudaDevice::offset_of(const void* pointer) const {
  const std::uintptr_t address = as_address(pointer);
  if (const auto* found = containing(reservations_, address))
    return ((found->second.number + 1) << 46) + (address - found->first);
  if (was_lent(pointer)) return (std::uint64_t{1} << 46) + address - origin_;
  for (const HostRanges* ranges : {&pinned_, &registered_})
    if (const auto* found = containing(*ranges, address))
      return found->second.offset + (address - found->first);
  return UINT64_MAX;
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
