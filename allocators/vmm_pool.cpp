#include "allocators/vmm_pool.hpp"

#include <algorithm>
#include <stdexcept>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constexpr std::size_t kAlignment = 128;

void* as_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

VmmPool::VmmPool(Device& device, Options options)
    : device_(device),
      granularity_bytes_(device.profile().granularity_bytes),
      reservation_bytes_(round_down(options.reservation_bytes, granularity_bytes_)),
      bug_(bug_named(options.bug)) {
  if (reservation_bytes_ == 0)
    throw std::invalid_argument("vmm_pool: reservation_bytes must be at least the granularity, " +
                                format_bytes(granularity_bytes_));
}

VmmPool::~VmmPool() {
  if (lent_.size() != 0 || base_ == 0) return;
  // What is queued may still use the scratch, and cuMemUnmap does not wait for it.
  (void)device_.synchronize();
  if (mapped_bytes_ != 0) given_back(device_.mem_unmap(as_pointer(base_), mapped_bytes_));
  given_back(device_.address_free(as_pointer(base_), reservation_bytes_));
}

VmmPool::Bug VmmPool::bug_named(const std::string& word) {
  if (word == "none") return Bug::none;
  if (word == "no_unwind") return Bug::no_unwind;
  if (word == "pops_any") return Bug::pops_any;
  throw std::invalid_argument("vmm_pool: unknown bug '" + word + "'; known: none, no_unwind, pops_any");
}

void* VmmPool::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("vmm_pool: a request of no bytes");
  if (request.alignment > granularity_bytes_)
    throw std::invalid_argument("vmm_pool: cannot align to " + std::to_string(request.alignment));
  lent_.reserve_one();
  if (stack_.size() == stack_.capacity()) stack_.reserve(std::max<std::size_t>(64, stack_.size() * 2));

  // The reservation begins at a multiple of the granularity, so an offset is aligned as its address is; it
  // has whole granules, so no start lies behind its end.
  const std::size_t start = round_up(used_bytes_, std::max(request.alignment, kAlignment));
  if (request.bytes > reservation_bytes_ - start)
    throw OutOfMemory(request, "beside the " + format_bytes(used_bytes_) + " below it, it does not fit the " +
                                   format_bytes(reservation_bytes_) + " of addresses");
  const std::size_t end = round_up(start + request.bytes, kAlignment);
  if (end > mapped_bytes_) grow(request, end - mapped_bytes_);
  lent_.insert(base_ + start, stack_.size());
  stack_.push_back({used_bytes_});
  used_bytes_ = end;
  return as_pointer(base_ + start);
}

void VmmPool::refuse(const Request& request, Status status, const char* call, std::size_t bytes) {
  (void)device_.take_last_error();
  if (status != Status::memory_allocation) throw DeviceError(status, call);
  throw OutOfMemory(request, std::string(call) + " of " + format_bytes(bytes) + " was refused beside the " +
                                 format_bytes(mapped_bytes_) + " that are mapped");
}

void VmmPool::grow(const Request& request, std::size_t short_bytes) {
  const std::size_t bytes = round_up(short_bytes, granularity_bytes_);
  MemoryHandle handle;
  if (const Status status = device_.mem_create(handle, bytes, request.tag); status != Status::success)
    refuse(request, status, "cuMemCreate", bytes);
  const bool is_first = base_ == 0;
  if (is_first) {
    void* base = nullptr;
    const Status status = device_.address_reserve(base, reservation_bytes_);
    if (status != Status::success) {
      if (bug_ != Bug::no_unwind) given_back(device_.mem_release(handle));
      refuse(request, status, "cuMemAddressReserve", reservation_bytes_);
    }
    base_ = reinterpret_cast<std::uintptr_t>(base);
  }
  try {
    map_at_top(request, handle, bytes);
  } catch (...) {
    if (is_first && bug_ != Bug::no_unwind) {
      given_back(device_.address_free(as_pointer(base_), reservation_bytes_));
      base_ = 0;
    }
    throw;
  }
  mapped_bytes_ += bytes;
}

void VmmPool::map_at_top(const Request& request, MemoryHandle handle, std::size_t bytes) {
  void* const top = as_pointer(base_ + mapped_bytes_);
  if (const Status status = device_.mem_map(top, bytes, 0, handle); status != Status::success) {
    // It may have been mapped all the same, and a range with a mapping in it cannot be freed.
    if (device_.mem_unmap(top, bytes) != Status::success) (void)device_.take_last_error();
    if (bug_ != Bug::no_unwind) given_back(device_.mem_release(handle));
    refuse(request, status, "cuMemMap", bytes);
  }
  // From here on the mapping alone keeps the memory.
  given_back(device_.mem_release(handle));
  const Status status = device_.mem_set_access(top, bytes, Protection::read_write);
  if (status == Status::success) return;
  if (bug_ != Bug::no_unwind) given_back(device_.mem_unmap(top, bytes));
  refuse(request, status, "cuMemSetAccess", bytes);
}

void VmmPool::deallocate(void* block, Request) noexcept {
  std::size_t* const place = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!place) {
    ++refused_frees_;
    return;
  }
  const std::size_t freed = bug_ == Bug::pops_any ? stack_.size() - 1 : *place;
  lent_.erase(place);
  stack_[freed].is_lent = false;
  take_back_top();
}

void VmmPool::take_back_top() noexcept {
  while (!stack_.empty() && !stack_.back().is_lent) {
    used_bytes_ = stack_.back().below_bytes;
    stack_.pop_back();
  }
}

std::vector<ListsFreeBlocks::FreeBlock> VmmPool::free_blocks() const {
  if (used_bytes_ == mapped_bytes_) return {};
  return {{base_ + used_bytes_, mapped_bytes_ - used_bytes_, 0}};
}

}  // namespace drought
