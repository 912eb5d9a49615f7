// The rows on virtual memory management.
#include <cstdint>

#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

std::uint8_t* bytes_of(void* block) { return static_cast<std::uint8_t*>(block); }

MemoryHandle handle_of(Device& device, std::size_t bytes) {
  MemoryHandle handle;
  return device.mem_create(handle, bytes) == Status::success ? handle : MemoryHandle{};
}

std::uint8_t* reservation_of(Device& device, std::size_t bytes) {
  void* out = nullptr;
  return device.address_reserve(out, bytes) == Status::success ? bytes_of(out) : nullptr;
}

/// 8 MiB of addresses, of which the first 4 MiB are one mapping.
struct Mapped {
  explicit Mapped(Device& device)
      : handle(handle_of(device, 4_MiB)),
        begin(reservation_of(device, 8_MiB)),
        mapped(device.mem_map(begin, 4_MiB, 0, handle)) {}
  MemoryHandle handle;
  std::uint8_t* begin;
  Status mapped;
};

std::string create_one_byte(Device& device) {
  MemoryHandle handle;
  return Observed() << device.mem_create(handle, 1);
}

std::string create_2_45(Device& device) {
  MemoryHandle handle;
  return Observed() << device.mem_create(handle, std::size_t{1} << 45);
}

std::string create_costs(Device& device) {
  warm_up(device);
  const std::size_t before = free_bytes(device);
  const MemoryHandle handle = handle_of(device, 32_MiB);
  Observed observed;
  observed.cost(before, free_bytes(device)) << device.mem_release(handle);
  return observed.cost(before, free_bytes(device));
}

std::string reserve_much(Device& device) {
  void* out = nullptr;
  const std::size_t most = device.profile().address_space_bytes;
  Observed observed;
  observed << device.address_reserve(out, most);
  return observed << device.address_free(out, most);
}

std::string map_wrong_sizes(Device& device) {
  const MemoryHandle handle = handle_of(device, 4_MiB);
  std::uint8_t* const at = reservation_of(device, 16_MiB);
  Observed observed;
  observed << device.mem_map(at, 6_MiB, 0, handle) << device.mem_map(at, 3_MiB, 0, handle);
  observed << device.mem_map(at, 4_MiB, 2_MiB, handle);
  return observed << device.mem_map(at, 4_MiB, 0, handle);
}

std::string map_over_a_mapping(Device& device) {
  const Mapped first(device);
  const MemoryHandle second = handle_of(device, 4_MiB);
  Observed observed;
  observed << first.mapped << device.mem_map(first.begin + 2_MiB, 4_MiB, 0, second);
  return observed << device.mem_map(first.begin + 4_MiB, 4_MiB, 0, second);
}

std::string map_outside(Device& device) {
  const MemoryHandle handle = handle_of(device, 4_MiB);
  std::uint8_t* const at = reservation_of(device, 8_MiB);
  return Observed() << device.mem_map(at + 8_MiB, 4_MiB, 0, handle);
}

std::string one_handle_twice(Device& device) {
  const Mapped first(device);
  Observed observed;
  observed << device.mem_map(first.begin + 4_MiB, 4_MiB, 0, first.handle);
  observed << device.mem_set_access(first.begin, 8_MiB, Protection::read_write);
  observed << probe_write(device, first.begin + 5, 77) << device.synchronize();
  std::uint8_t seen = 77;
  if (device.work() == Device::Work::full)
    observed << device.memcpy(&seen, first.begin + 4_MiB + 5, 1);
  else
    observed << Status::success;
  return observed << std::to_string(seen);
}

std::string access_over_a_gap(Device& device) {
  const Mapped mapped(device);
  Observed observed;
  observed << device.mem_set_access(mapped.begin, 8_MiB, Protection::read_write);
  return observed << device.mem_set_access(mapped.begin, 4_MiB, Protection::read_write);
}

std::string write_without_access(Device& device) {
  const Mapped mapped(device);
  Observed observed;
  observed << mapped.mapped << probe_write(device, mapped.begin, 1) << device.synchronize();
  return observed << device.synchronize();
}

std::string release_while_mapped(Device& device) {
  warm_up(device);
  const std::size_t before = free_bytes(device);
  const Mapped mapped(device);
  Observed observed;
  observed << device.mem_set_access(mapped.begin, 4_MiB, Protection::read_write);
  observed << device.mem_release(mapped.handle) << probe_write(device, mapped.begin, 1)
           << device.synchronize();
  observed.cost(before, free_bytes(device)) << device.mem_release(mapped.handle);
  observed << device.mem_unmap(mapped.begin, 4_MiB);
  return observed.cost(before, free_bytes(device));
}

std::string unmap_half(Device& device) {
  const Mapped mapped(device);
  Observed observed;
  observed << device.mem_unmap(mapped.begin, 2_MiB) << device.mem_unmap(mapped.begin + 2_MiB, 2_MiB);
  return observed << device.mem_unmap(mapped.begin, 4_MiB);
}

std::string free_addresses_while_mapped(Device& device) {
  const Mapped mapped(device);
  Observed observed;
  observed << device.address_free(mapped.begin, 8_MiB) << device.mem_unmap(mapped.begin, 4_MiB);
  return observed << device.address_free(mapped.begin, 4_MiB) << device.address_free(mapped.begin, 8_MiB);
}

std::string unmap_twice(Device& device) {
  const Mapped mapped(device);
  return Observed() << device.mem_unmap(mapped.begin, 4_MiB) << device.mem_unmap(mapped.begin, 4_MiB);
}

std::string cuda_free_of_a_mapping(Device& device) {
  const Mapped mapped(device);
  return Observed() << device.free(mapped.begin);
}

std::string read_only(Device& device) {
  const Mapped mapped(device);
  Observed observed;
  observed << device.mem_set_access(mapped.begin, 4_MiB, Protection::read);
  return observed << probe_read(device, mapped.begin) << device.synchronize();
}

std::string read_past_a_mapping(Device& device) {
  const Mapped mapped(device);
  Observed observed;
  observed << device.mem_set_access(mapped.begin, 4_MiB, Protection::read_write);
  observed << probe_read(device, mapped.begin + 4_MiB - 1) << device.synchronize();
  return observed << probe_read(device, mapped.begin + 4_MiB) << device.synchronize();
}

std::string read_after_unmap(Device& device) {
  const Mapped mapped(device);
  Observed observed;
  observed << device.mem_set_access(mapped.begin, 4_MiB, Protection::read_write);
  observed << device.mem_unmap(mapped.begin, 4_MiB);
  return observed << probe_read(device, mapped.begin) << device.synchronize();
}

constexpr SemanticsRow rows[] = {
    {"create of 1 B", "InvalidValue", create_one_byte},
    {"create of 2^45 bytes", "MemoryAllocation", create_2_45},
    {"create takes memory, release gives it back", "32.00 MiB, Success, 0 B", create_costs},
    {"one reservation of the most addresses there are", "Success, Success", reserve_much},
    {"map of more than the handle, of an odd size, at an offset",
     "NotSupported, NotSupported, NotSupported, Success", map_wrong_sizes},
    {"map over a mapping", "Success, InvalidValue, Success", map_over_a_mapping},
    {"map outside the reservation", "InvalidValue", map_outside},
    {"one handle at two addresses is one memory", "Success, Success, Success, Success, Success, 77",
     one_handle_twice},
    {"access over a range with an unmapped part", "InvalidValue, Success", access_over_a_gap},
    {"a write where access was never set", "Success, Success, IllegalAddress, IllegalAddress",
     write_without_access, true},
    {"a handle that is released while mapped",
     "Success, Success, Success, Success, 4.00 MiB, InvalidValue, Success, 0 B", release_while_mapped},
    {"unmap of half a mapping", "InvalidValue, InvalidValue, Success", unmap_half},
    {"address-free while mapped, and with another size", "InvalidValue, Success, InvalidValue, Success",
     free_addresses_while_mapped},
    {"unmap twice", "Success, Success", unmap_twice},
    {"cudaFree of a mapped address", "InvalidValue", cuda_free_of_a_mapping},
    {"read-only access", "Success, Success, Success", read_only},
    {"a read past the end of a mapping", "Success, Success, Success, Success, IllegalAddress",
     read_past_a_mapping, true},
    {"a read of a mapping that is gone", "Success, Success, Success, IllegalAddress", read_after_unmap, true},
};

}  // namespace

std::span<const SemanticsRow> vmm_rows() { return rows; }

}  // namespace drought
