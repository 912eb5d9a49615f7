#include "allocators/guard.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace drought {
namespace {

constexpr std::uint8_t kCanary = 0xC5;
constexpr std::size_t kRequestEnd = std::size_t{1} << 60;

void* as_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

std::string called(const Request& request) {
  return "'" + std::string(request.tag.view()) + "' (" + std::to_string(request.bytes) + " B, allocated at " +
         request.from.text() + ")";
}

}  // namespace

Guard::Guard(Device& device, Options options)
    : device_(device),
      options_(std::move(options)),
      fence_(fence_named(options_.fence)),
      granule_(device.profile().granularity_bytes) {
  if (!device.profile().has_vmm)
    throw std::invalid_argument("guard: profile " + std::string(device.profile().name) +
                                " has no virtual memory management");
}

Guard::Fence Guard::fence_named(const std::string& word) {
  if (word == "after") return Fence::after;
  if (word == "before") return Fence::before;
  if (word == "none") return Fence::none;
  throw std::invalid_argument("guard: unknown fence '" + word + "'; known: after, before, none");
}

Guard::~Guard() {
  (void)settle();
  for (const Guarded& block : waiting_) close(block);
  release_idle();
  release_addresses(0, 0);
}

void* Guard::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("guard: a request of no bytes");
  if (request.alignment > granule_)
    throw std::invalid_argument("guard: a mapping does not align to " + std::to_string(request.alignment));
  if (request.bytes >= kRequestEnd) throw OutOfMemory(request, "more than 1 EB");
  (void)retire_waiting();
  lent_.reserve_one();
  Guarded made{.request = request, .mapped_bytes = round_up(request.bytes, granule_)};
  take_memory(made);
  try {
    take_addresses(made);
    open(made);
    fill_slack(made);
  } catch (...) {
    give_up(made);
    throw;
  }
  lent_.insert(made.block, made);
  return as_pointer(made.block);
}

void Guard::take_memory(Guarded& made) {
  const auto idle = idle_.find(made.mapped_bytes);
  if (idle != idle_.end() && !idle->second.empty()) {
    made.handle = idle->second.back();
    idle->second.pop_back();
    return;
  }
  Status status = device_.mem_create(made.handle, made.mapped_bytes, made.request.tag);
  if (status == Status::memory_allocation && release_idle() != 0)
    status = device_.mem_create(made.handle, made.mapped_bytes, made.request.tag);
  if (status != Status::success) refuse(made.request, status, "cuMemCreate");
  reserved_bytes_ += made.mapped_bytes;
}

void Guard::take_addresses(Guarded& made) {
  const std::size_t fence_bytes = fence_ == Fence::none ? 0 : granule_;
  made.space_bytes = made.mapped_bytes + 2 * fence_bytes;
  void* space = nullptr;
  Status status = device_.address_reserve(space, made.space_bytes);
  if (status == Status::memory_allocation && !quarantine_.empty()) {
    release_addresses(0, 0);
    status = device_.address_reserve(space, made.space_bytes);
  }
  if (status != Status::success) refuse(made.request, status, "cuMemAddressReserve");
  made.space = reinterpret_cast<std::uintptr_t>(space);
  made.mapping = made.space + fence_bytes;
  // The mapping begins and ends at granules, so either place is inside it and aligned as asked.
  const std::uintptr_t last = made.mapping + (made.mapped_bytes - made.request.bytes);
  made.block = fence_ == Fence::after ? round_down(last, made.request.alignment) : made.mapping;
}

void Guard::open(Guarded& made) {
  void* const at = as_pointer(made.mapping);
  Status status = device_.mem_map(at, made.mapped_bytes, 0, made.handle);
  if (status != Status::success) {
    // It may have been mapped all the same, and a range with a mapping in it cannot be freed.
    if (device_.mem_unmap(at, made.mapped_bytes) != Status::success) (void)device_.take_last_error();
    refuse(made.request, status, "cuMemMap");
  }
  made.is_open = true;
  status = device_.mem_set_access(at, made.mapped_bytes, Protection::read_write);
  if (status != Status::success) refuse(made.request, status, "cuMemSetAccess");
}

Guard::Slack Guard::slack_before(const Guarded& block) const {
  const std::size_t bytes = std::min<std::size_t>(block.block - block.mapping, options_.canary_bytes);
  return {block.block - bytes, bytes, -static_cast<std::ptrdiff_t>(bytes)};
}

Guard::Slack Guard::slack_after(const Guarded& block) const {
  const std::uintptr_t end = block.block + block.request.bytes;
  const std::size_t left = block.mapping + block.mapped_bytes - end;
  return {end, std::min(left, options_.canary_bytes), static_cast<std::ptrdiff_t>(block.request.bytes)};
}

void Guard::fill_slack(Guarded& made) {
  if (device_.work() == Device::Work::shapes) return;  // Nothing is written there, so nothing can be read.
  for (const Slack& slack : {slack_before(made), slack_after(made)}) {
    if (slack.bytes == 0) continue;
    const Status status =
        device_.memset(as_pointer(slack.begin), kCanary, slack.bytes, made.request.stream, Judged::no);
    if (status != Status::success) refuse(made.request, status, "cudaMemset");
  }
  made.has_canary = true;
}

void Guard::refuse(const Request& request, Status status, const char* call) {
  (void)device_.take_last_error();
  if (status == Status::memory_allocation)
    throw OutOfMemory(request, std::string(call) + " answered cudaErrorMemoryAllocation");
  throw DeviceError(status, call);
}

void Guard::give_up(const Guarded& made) {
  if (made.is_open) {
    // A fill may be on its way, and the mapping must outlive it.
    if (settle() != Status::success) return waiting_.push_back(made);
    (void)device_.mem_unmap(as_pointer(made.mapping), made.mapped_bytes);
  }
  if (made.space != 0) (void)device_.address_free(as_pointer(made.space), made.space_bytes);
  drop(made);
}

void Guard::drop(const Guarded& made) noexcept {
  (void)device_.mem_release(made.handle);
  reserved_bytes_ -= made.mapped_bytes;
}

void Guard::deallocate(void* block, Request) noexcept {
  Guarded* const lent = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!lent) {
    ++refused_frees_;
    return;
  }
  waiting_.push_back(*lent);
  lent_.erase(lent);
  const Status status = retire_waiting();
  if (status != Status::success && listener_)
    listener_->could_not_look("cudaDeviceSynchronize answered " + name(status));
}

Status Guard::settle() noexcept {
  try {
    return device_.synchronize();
  } catch (const std::exception&) {
    return Status::unknown;  // The run is being ended at this very step, and every later one says so too.
  }
}

Status Guard::retire_waiting() noexcept {
  if (waiting_.empty()) return Status::success;
  if (const Status status = settle(); status != Status::success) return status;
  for (const Guarded& block : std::exchange(waiting_, {})) {
    look_at(block);
    close(block);
  }
  return Status::success;
}

void Guard::look_at(const Guarded& block) noexcept {
  if (!block.has_canary || options_.canary_bytes == 0) return;
  std::string damage;
  try {
    damage = damage_of(block);
  } catch (const std::exception& failure) {
    if (listener_) listener_->could_not_look(called(block.request) + ": " + failure.what());
    return;
  }
  if (!damage.empty()) {
    ++damaged_blocks_;
    last_damage_ = damage;
  }
  if (listener_) listener_->looked_at_block(damage);
}

std::string Guard::damage_of(const Guarded& block) const {
  for (const Slack& slack : {slack_before(block), slack_after(block)}) {
    if (slack.bytes == 0) continue;
    std::vector<std::uint8_t> seen(slack.bytes);
    const Status status =
        device_.memcpy(seen.data(), as_pointer(slack.begin), slack.bytes, Stream{}, Judged::no);
    if (status != Status::success) throw DeviceError(status, "cudaMemcpy");
    const auto written = [](std::uint8_t byte) { return byte != kCanary; };
    const auto first = std::find_if(seen.begin(), seen.end(), written);
    if (first == seen.end()) continue;
    const auto last = std::find_if(seen.rbegin(), seen.rend(), written).base() - 1;
    return called(block.request) + " was written outside: bytes " +
           std::to_string(slack.offset + (first - seen.begin())) + " to " +
           std::to_string(slack.offset + (last - seen.begin())) + " from its start, found when it was freed";
  }
  return {};
}

void Guard::close(const Guarded& block) noexcept {
  const Status status = device_.mem_unmap(as_pointer(block.mapping), block.mapped_bytes);
  if (status == Status::success) {
    idle_[block.mapped_bytes].push_back(block.handle);
  } else {
    drop(block);  // Whether it is still mapped is not certain, so this memory is not lent again.
  }
  quarantine(block);
}

void Guard::quarantine(const Guarded& block) noexcept {
  quarantine_.push_back({block.space, block.space_bytes});
  quarantined_bytes_ += block.space_bytes;
  release_addresses(options_.quarantine_blocks, options_.quarantine_bytes);
}

void Guard::release_addresses(std::size_t blocks_left, std::size_t bytes_left) noexcept {
  while (quarantine_.size() > blocks_left || quarantined_bytes_ > bytes_left) {
    const Quarantined oldest = quarantine_.front();
    quarantine_.pop_front();
    quarantined_bytes_ -= oldest.space_bytes;
    (void)device_.address_free(as_pointer(oldest.space), oldest.space_bytes);
  }
}

std::size_t Guard::trim() {
  if (const Status status = retire_waiting(); status != Status::success)
    throw DeviceError(status, "cudaDeviceSynchronize");
  return release_idle();
}

std::size_t Guard::release_idle() noexcept {
  std::size_t released_bytes = 0;
  for (const auto& [bytes, handles] : std::exchange(idle_, {}))
    for (const MemoryHandle handle : handles) {
      (void)device_.mem_release(handle);
      released_bytes += bytes;
    }
  reserved_bytes_ -= released_bytes;
  return released_bytes;
}

}  // namespace drought
