#include "harness/device/host_pinned.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <stdexcept>

namespace drought {
namespace {

constexpr std::size_t page_bytes = 4_KiB;
constexpr std::uint64_t read_only_bit = std::uint64_t{1} << 63;

// cudaMallocHost(2^45) was refused on the measured machine; what it would have lent below is unknown.
constexpr std::size_t pinned_bytes_max = 32_TiB - 1;

bool overlaps(const RangeSet& ranges, std::uintptr_t begin, std::size_t bytes) {
  if (ranges.containing(begin)) return true;
  const auto next = ranges.at_or_after(begin);
  return next && next->begin - begin < bytes;
}

/// Whether the page can be had: one past the end of its file cannot, though it is mapped. A kernel
/// before Linux 5.14 cannot be asked, and then it is taken for good.
bool has_page(std::uintptr_t address) {
  void* const page = reinterpret_cast<void*>(round_down(address, page_bytes));
  return ::madvise(page, page_bytes, MADV_POPULATE_READ) == 0 || errno == EINVAL;
}

}  // namespace

Protection host_protection(std::uintptr_t begin, std::size_t bytes) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "r"), std::fclose);
  if (!maps) throw std::runtime_error("/proc/self/maps cannot be read");
  Protection all = Protection::read_write;
  std::uintptr_t covered = begin;
  const std::uintptr_t end = begin + bytes;
  char line[512];
  while (covered < end && std::fgets(line, sizeof line, maps.get())) {
    std::uintptr_t first = 0, last = 0;
    char granted[5] = {};
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &first, &last, granted) != 3) continue;
    if (last <= covered) continue;
    if (first > covered || granted[0] != 'r') return Protection::none;
    if (granted[1] != 'w') all = Protection::read;
    covered = last;
  }
  return covered >= end ? all : Protection::none;
}

HostMemory::~HostMemory() {
  for (auto block = pinned_.at_or_after(0); block; block = pinned_.at_or_after(block->end()))
    ::munmap(reinterpret_cast<void*>(block->begin), round_up(block->bytes, page_bytes));
}

Status HostMemory::malloc(std::uintptr_t& out, std::size_t bytes) {
  if (bytes > pinned_bytes_max - pinned_bytes_) return Status::memory_allocation;
  const std::size_t mapped_bytes = round_up(bytes, page_bytes);
  if (profile_.unified_memory && !budget_.take(mapped_bytes)) return Status::memory_allocation;
  constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* mapped = ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (mapped == MAP_FAILED) {
    if (profile_.unified_memory) budget_.give(mapped_bytes);
    return Status::memory_allocation;
  }
  out = reinterpret_cast<std::uintptr_t>(mapped);
  pinned_.insert({out, bytes, next_offset_});
  next_offset_ += mapped_bytes;
  pinned_bytes_ += mapped_bytes;
  return Status::success;
}

Status HostMemory::free(std::uintptr_t begin) {
  const auto block = pinned_.at(begin);
  if (!block) return Status::invalid_value;
  const std::size_t mapped_bytes = round_up(block->bytes, page_bytes);
  pinned_.erase(begin);
  pinned_bytes_ -= mapped_bytes;
  if (profile_.unified_memory) budget_.give(mapped_bytes);
  ::munmap(reinterpret_cast<void*>(begin), mapped_bytes);
  return Status::success;
}

Status HostMemory::add(std::uintptr_t begin, std::size_t bytes, HostRegistration how) {
  if (begin == 0 || bytes == 0 || bytes > UINTPTR_MAX - begin) return Status::invalid_value;
  if (overlaps(registered_, begin, bytes) || overlaps(pinned_, begin, bytes))
    return Status::host_memory_already_registered;
  const std::size_t limit = profile_.host_register_limit_bytes;
  if (limit != 0 && (registered_bytes_ > limit || bytes > limit - registered_bytes_))
    return Status::memory_allocation;
  const Protection granted = host_protection(begin, bytes);
  const Protection wanted = how.read_only ? Protection::read : Protection::read_write;
  if (granted < wanted || !has_page(begin + bytes - 1)) return Status::invalid_value;
  if (profile_.unified_memory && !budget_.take(bytes)) return Status::memory_allocation;
  registered_.insert({begin, bytes, next_offset_ | (how.read_only ? read_only_bit : 0)});
  next_offset_ += round_up(bytes, page_bytes);
  registered_bytes_ += bytes;
  return Status::success;
}

Status HostMemory::remove(std::uintptr_t begin) {
  const auto range = registered_.containing(begin);
  if (!range) return Status::host_memory_not_registered;
  if (range->begin != begin) return Status::invalid_value;
  registered_.erase(begin);
  if (profile_.unified_memory) budget_.give(range->bytes);
  registered_bytes_ -= range->bytes;
  return Status::success;
}

std::optional<HostMemory::Place> HostMemory::place(std::uintptr_t address) const {
  if (const auto block = pinned_.containing(address)) return Place{*block};
  auto range = registered_.containing(address);
  if (!range) return {};
  const bool read_only = (range->value & read_only_bit) != 0;
  range->value &= ~read_only_bit;
  return Place{*range, read_only};
}

std::uintptr_t HostMemory::mapped_until(std::uintptr_t address, Access access) const {
  const auto known = place(address);
  if (!known || (known->read_only && access != Access::read)) return 0;
  return known->range.end();
}

}  // namespace drought
