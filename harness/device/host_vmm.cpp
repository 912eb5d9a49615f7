#include "harness/device/host_vmm.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace drought {
namespace {

[[noreturn]] void refuse(const char* call) { throw std::system_error(errno, std::generic_category(), call); }

void* as_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

void map_nothing(std::uintptr_t begin, std::size_t bytes) {
  constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  if (::mmap(as_pointer(begin), bytes, PROT_NONE, flags, -1, 0) != MAP_FAILED) return;
  // A process that has all the mappings it may have can end one, and then has room to make another.
  ::munmap(as_pointer(begin), bytes);
  if (::mmap(as_pointer(begin), bytes, PROT_NONE, flags, -1, 0) == MAP_FAILED) refuse("mmap");
}

}  // namespace

HostVmm::HostVmm(const Profile& profile, Budget& budget, AddressSpace& space, bool backed)
    : profile_(profile), budget_(budget), space_(space) {
  if (!backed) return;
  file_ = ::memfd_create("device memory", MFD_CLOEXEC);
  if (file_ < 0) refuse("memfd_create");
}

HostVmm::~HostVmm() {
  if (file_ >= 0) ::close(file_);
}

Status HostVmm::create(MemoryHandle& out, std::size_t bytes) {
  if (bytes == 0 || !aligned(bytes)) return Status::invalid_value;
  if (!budget_.take(bytes)) return Status::memory_allocation;
  // Stretches of the file are not used again: it is sparse, and a released stretch is a hole.
  if (file_ >= 0 && ::ftruncate(file_, static_cast<off_t>(file_bytes_ + bytes)) != 0) refuse("ftruncate");
  out = {next_handle_++};
  handles_[out.id] = {.bytes = bytes, .file_offset = file_bytes_};
  file_bytes_ += bytes;
  return Status::success;
}

Status HostVmm::release(MemoryHandle handle) {
  const auto found = handles_.find(handle.id);
  if (found == handles_.end() || found->second.released) return Status::invalid_value;
  found->second.released = true;
  forget_if_unused(handle.id);
  return Status::success;
}

void HostVmm::forget_if_unused(std::uint64_t id) {
  const Handle& handle = handles_.at(id);
  if (!handle.released || handle.mappings > 0) return;
  if (file_ >= 0) {
    constexpr int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    const auto begin = static_cast<off_t>(handle.file_offset);
    if (::fallocate(file_, mode, begin, static_cast<off_t>(handle.bytes)) != 0) refuse("fallocate");
  }
  budget_.give(handle.bytes);
  handles_.erase(id);
}

Status HostVmm::reserve(std::uintptr_t& out, std::size_t bytes) {
  if (bytes == 0 || !aligned(bytes)) return Status::invalid_value;
  if (bytes > profile_.address_space_bytes) return Status::memory_allocation;
  const auto begin = space_.take(bytes);
  if (!begin) return Status::memory_allocation;
  reservations_.insert({*begin, bytes});
  out = *begin;
  return Status::success;
}

Status HostVmm::free_addresses(std::uintptr_t begin, std::size_t bytes) {
  const auto reservation = reservations_.at(begin);
  if (!reservation || reservation->bytes != bytes) return Status::invalid_value;
  if (overlaps_a_mapping(begin, bytes)) return Status::invalid_value;
  reservations_.erase(begin);
  space_.give(begin, bytes);
  return Status::success;
}

bool HostVmm::inside_a_reservation(std::uintptr_t begin, std::size_t bytes) const {
  const auto reservation = reservations_.containing(begin);
  return reservation && bytes <= reservation->end() - begin;
}

bool HostVmm::overlaps_a_mapping(std::uintptr_t begin, std::size_t bytes) const {
  if (mappings_.containing(begin)) return true;
  const auto next = mappings_.at_or_after(begin);
  return next && next->begin - begin < bytes;
}

bool HostVmm::exactly_mapped(std::uintptr_t begin, std::size_t bytes) const {
  while (bytes > 0) {
    const auto mapping = mappings_.at(begin);
    if (!mapping || mapping->bytes > bytes) return false;
    begin += mapping->bytes;
    bytes -= mapping->bytes;
  }
  return true;
}

Status HostVmm::map(const AddressRange& where, std::size_t offset, MemoryHandle handle) {
  const auto found = handles_.find(handle.id);
  if (found == handles_.end() || found->second.released) return Status::invalid_value;
  if (offset != 0 || where.bytes != found->second.bytes) return Status::not_supported;
  if (!aligned(where.begin) || !inside_a_reservation(where.begin, where.bytes)) return Status::invalid_value;
  if (overlaps_a_mapping(where.begin, where.bytes)) return Status::invalid_value;
  if (file_ >= 0) {
    const auto in_file = static_cast<off_t>(found->second.file_offset);
    constexpr int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
    void* mapped = ::mmap(as_pointer(where.begin), where.bytes, PROT_NONE, flags, file_, in_file);
    if (mapped == MAP_FAILED && errno == ENOMEM) return Status::memory_allocation;  // vm.max_map_count
    if (mapped == MAP_FAILED) refuse("mmap");
  }
  ++found->second.mappings;
  mappings_.insert({where.begin, where.bytes, packed({.handle = handle.id})});
  return Status::success;
}

Status HostVmm::unmap(std::uintptr_t begin, std::size_t bytes) {
  if (bytes == 0 || !inside_a_reservation(begin, bytes)) return Status::invalid_value;
  if (!overlaps_a_mapping(begin, bytes)) return Status::success;
  if (!exactly_mapped(begin, bytes)) return Status::invalid_value;
  if (file_ >= 0) map_nothing(begin, bytes);
  for (std::uintptr_t at = begin; at < begin + bytes;) {
    const AddressRange mapping = *mappings_.at(at);
    const std::uint64_t id = unpacked(mapping.value).handle;
    mappings_.erase(at);
    --handles_.at(id).mappings;
    forget_if_unused(id);
    at = mapping.end();
  }
  return Status::success;
}

Status HostVmm::set_access(std::uintptr_t begin, std::size_t bytes, Protection protection) {
  if (bytes == 0 || !exactly_mapped(begin, bytes)) return Status::invalid_value;
  if (file_ >= 0) protect_pages(begin, bytes, protection);
  for (std::uintptr_t at = begin; at < begin + bytes;) {
    const AddressRange mapping = *mappings_.at(at);
    mappings_.set_value(at, packed({unpacked(mapping.value).handle, protection}));
    at = mapping.end();
  }
  return Status::success;
}

std::uintptr_t HostVmm::mapped_until(std::uintptr_t address, Access access) const {
  const auto mapping = mappings_.containing(address);
  if (!mapping) return 0;
  const Protection granted = unpacked(mapping->value).protection;
  const Protection wanted = access == Access::read ? Protection::read : Protection::read_write;
  return granted >= wanted ? mapping->end() : 0;
}

}  // namespace drought
