#include "harness/device/host_pages.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace drought {
namespace {

void* as_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

int bits(Protection protection) {
  switch (protection) {
    case Protection::none:
      return PROT_NONE;
    case Protection::read:
      return PROT_READ;
    case Protection::read_write:
      return PROT_READ | PROT_WRITE;
  }
  return PROT_NONE;
}

void require(bool done, const char* call) {
  if (!done) throw std::runtime_error(std::string(call) + ": " + std::generic_category().message(errno));
}

}  // namespace

std::size_t reservation_bytes_max() {
#if defined(__SANITIZE_THREAD__)
  return 256_GiB;
#else
  return 64_TiB;
#endif
}

void protect_pages(std::uintptr_t begin, std::size_t bytes, Protection protection) {
  require(::mprotect(as_pointer(begin), bytes, bits(protection)) == 0, "mprotect");
}

void drop_pages(std::uintptr_t begin, std::size_t bytes) {
  require(::madvise(as_pointer(begin), bytes, MADV_DONTNEED) == 0, "madvise");
  protect_pages(begin, bytes, Protection::none);
}

AddressSpace::~AddressSpace() {
  for (const Region& region : regions_) ::munmap(as_pointer(region.begin), region.bytes);
}

bool AddressSpace::reserve(std::size_t bytes) {
  if (bytes > reservation_bytes_max()) return false;
  const std::size_t slack = options_.granularity_bytes;
  void* mapped =
      ::mmap(nullptr, bytes + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return false;
  const auto lowest = reinterpret_cast<std::uintptr_t>(mapped);
  const std::uintptr_t begin = round_up(lowest, slack);
  if (begin > lowest) ::munmap(mapped, begin - lowest);
  const std::size_t tail = lowest + slack - begin;
  if (tail > 0) ::munmap(as_pointer(begin + bytes), tail);
  regions_.push_back({begin, bytes, next_offset_, Holes()});
  regions_.back().holes.give(begin, bytes);
  next_offset_ += round_up(bytes, 1_TiB);
  return true;
}

std::optional<std::uintptr_t> AddressSpace::take(std::size_t bytes) {
  for (Region& region : regions_)
    if (const auto begin = region.holes.take(bytes)) return begin;
  if (!reserve(bytes > options_.region_bytes ? bytes : options_.region_bytes)) return {};
  return regions_.back().holes.take(bytes);
}

void AddressSpace::give(std::uintptr_t begin, std::size_t bytes) {
  for (std::size_t i = 0; i < regions_.size(); ++i) {
    Region& region = regions_[i];
    if (begin < region.begin || begin - region.begin >= region.bytes) continue;
    const bool empty = region.holes.give(begin, bytes).bytes == region.bytes;
    if (empty && (i > 0 || region.bytes > options_.region_bytes)) {
      ::munmap(as_pointer(region.begin), region.bytes);
      regions_.erase(regions_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return;
  }
}

const AddressSpace::Region* AddressSpace::region_of(std::uintptr_t address) const {
  for (const Region& region : regions_)
    if (address >= region.begin && address - region.begin < region.bytes) return &region;
  return nullptr;
}

std::optional<std::uint64_t> AddressSpace::offset_of(std::uintptr_t address) const {
  const Region* region = region_of(address);
  if (!region) return {};
  return region->offset + (address - region->begin);
}

}  // namespace drought
