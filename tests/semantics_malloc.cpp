// The rows on cudaMalloc and cudaFree.
#include <array>
#include <cstdint>

#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

std::uint8_t* bytes_of(void* block) { return static_cast<std::uint8_t*>(block); }

std::string free_null(Device& device) { return Observed() << device.free(nullptr); }

std::string free_interior(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  return Observed() << device.free(bytes_of(block) + 4096) << device.free(block);
}

std::string free_twice(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  return Observed() << device.free(block) << device.free(block);
}

std::string free_host_pointer(Device& device) {
  int on_the_host = 0;
  return Observed() << device.free(&on_the_host);
}

std::string error_stays_until_taken(Device& device) {
  int on_the_host = 0;
  Observed observed;
  observed << device.free(&on_the_host) << device.peek_last_error();
  observed << device.free(nullptr) << device.peek_last_error();
  return observed << device.take_last_error() << device.peek_last_error();
}

std::string malloc_zero(Device& device) {
  int marker = 0;
  void* out = &marker;
  Observed observed;
  observed << device.malloc(out, 0);
  return observed << (out == nullptr ? "null" : "not null");
}

std::string malloc_too_much(Device& device, std::size_t bytes) {
  int marker = 0;
  void* out = &marker;
  Observed observed;
  observed << device.malloc(out, bytes) << (out == nullptr ? "null" : "not null");
  observed << device.peek_last_error() << device.malloc(out, 1_KiB);
  return observed << device.take_last_error() << device.peek_last_error();
}

std::string malloc_2_50(Device& device) { return malloc_too_much(device, std::size_t{1} << 50); }
std::string malloc_2_63(Device& device) { return malloc_too_much(device, std::size_t{1} << 63); }

std::string six_small_blocks(Device& device) {
  warm_up(device);
  const std::size_t before = free_bytes(device);
  Observed observed;
  for (const std::size_t bytes : {1_B, 512_B, 1000_B, 4_KiB, 32_KiB, 64_KiB}) malloc_or_null(device, bytes);
  return observed.cost(before, free_bytes(device));
}

std::string small_stride(Device& device) {
  std::array<std::uint8_t*, 3> blocks{};
  for (auto& block : blocks) block = bytes_of(malloc_or_null(device, 513));
  Observed observed;
  const std::size_t step = static_cast<std::size_t>(blocks[1] - blocks[0]);
  observed << format_bytes(step) << (blocks[2] - blocks[1] == blocks[1] - blocks[0] ? "even" : "uneven");
  return observed;
}

std::string one_mib_blocks(Device& device) {
  warm_up(device);
  Observed observed;
  for (int i = 0; i < 4; ++i) {
    const std::size_t before = free_bytes(device);
    malloc_or_null(device, 1_MiB);
    observed.cost(before, free_bytes(device));
  }
  return observed;
}

std::string big_blocks(Device& device) {
  warm_up(device);
  Observed observed;
  for (const std::size_t bytes : {1_MiB + 1, 2_MiB, 2_MiB + 1, 33_MiB}) {
    const std::size_t before = free_bytes(device);
    malloc_or_null(device, bytes);
    observed.cost(before, free_bytes(device));
  }
  return observed;
}

std::string free_gives_all_back(Device& device) {
  warm_up(device);
  const std::size_t before = free_bytes(device);
  std::array<void*, 3> blocks{};
  for (std::size_t i = 0; i < 3; ++i)
    blocks[i] = malloc_or_null(device, std::array{64_KiB, 2_MiB, 33_MiB}[i]);
  Observed observed;
  observed.cost(before, free_bytes(device));
  for (void* const block : blocks) observed << device.free(block);
  return observed.cost(before, free_bytes(device));
}

std::string first_freed_is_next(Device& device) {
  void* const a = malloc_or_null(device, 64_MiB);
  void* const b = malloc_or_null(device, 64_MiB);
  Observed observed;
  observed << device.free(a) << device.free(b);
  return observed << (malloc_or_null(device, 64_MiB) == a ? "a" : "another");
}

std::string free_waits(Device& device) {
  void* const written = malloc_or_null(device, 1_KiB);
  void* const other = malloc_or_null(device, 64_MiB);
  Event done;
  Stream stream;
  Observed observed;
  observed << device.event_create(done) << device.stream_create(stream);
  observed << probe_write_late(device, written, 7, stream) << device.event_record(done, stream);
  return observed << device.free(other) << device.event_query(done);
}

std::string read_overrun(Device& device, std::size_t offset) {
  std::uint8_t* const block = bytes_of(malloc_or_null(device, 1000));
  return Observed() << probe_read(device, block + offset) << device.synchronize() << device.free(block);
}

std::string read_one_past(Device& device) { return read_overrun(device, 1000); }

std::string read_chunk_end(Device& device) {
  std::uint8_t* const block = bytes_of(malloc_or_null(device, 1000));
  const std::size_t in_chunk = reinterpret_cast<std::uintptr_t>(block) % 2_MiB;
  return Observed() << probe_read(device, block + (2_MiB - 1 - in_chunk)) << device.synchronize();
}

std::string read_freed_small(Device& device) {
  void* const neighbour = malloc_or_null(device, 1000);
  void* const block = malloc_or_null(device, 1000);
  Observed observed;
  observed << device.free(block) << probe_read(device, block) << device.synchronize();
  return observed << device.free(neighbour);
}

std::string read_freed_big(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  Observed observed;
  observed << device.free(block) << probe_read(device, block) << device.synchronize();
  void* out = nullptr;
  return observed << device.malloc(out, 1) << device.take_last_error() << device.peek_last_error();
}

std::string fill_past_the_end(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  Observed observed;
  observed << device.memset(block, 1, 64_MiB + 1) << device.memset(block, 1, 64_MiB);
  return observed << device.synchronize();
}

std::string copy_past_the_end(Device& device) {
  void* const from = malloc_or_null(device, 64_MiB);
  void* const to = malloc_or_null(device, 64_MiB);
  Observed observed;
  observed << device.memcpy(to, from, 64_MiB + 1) << device.memcpy(to, from, 64_MiB);
  return observed << device.synchronize();
}

std::string fill_freed(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  return Observed() << device.free(block) << device.memset(block, 1, 16) << device.synchronize();
}

std::string kind_of(Device& device, const void* pointer) {
  PointerKind kind{};
  const Status status = device.pointer_kind(pointer, kind);
  if (status != Status::success) return word(status);
  switch (kind) {
    case PointerKind::unregistered:
      return "unregistered";
    case PointerKind::host:
      return "host";
    case PointerKind::device:
      return "device";
  }
  return "unknown";
}

std::string pointer_kinds(Device& device) {
  std::uint8_t* const live = bytes_of(malloc_or_null(device, 64_MiB));
  void* const freed = malloc_or_null(device, 64_MiB);
  int on_the_host = 0;
  Observed observed;
  observed << device.free(freed) << kind_of(device, live + 4096) << kind_of(device, freed);
  return observed << kind_of(device, &on_the_host);
}

constexpr std::string_view too_much =
    "MemoryAllocation, null, MemoryAllocation, Success, MemoryAllocation, Success";

constexpr SemanticsRow rows[] = {
    {"free of null", "Success", free_null},
    {"free of an interior pointer", "InvalidValue, Success", free_interior},
    {"free twice", "Success, InvalidValue", free_twice},
    {"free of a host pointer", "InvalidValue", free_host_pointer},
    {"the last error stays until it is taken",
     "InvalidValue, InvalidValue, Success, InvalidValue, InvalidValue, Success", error_stays_until_taken},
    {"malloc of nothing", "Success, null", malloc_zero},
    {"malloc of 2^50 bytes", too_much, malloc_2_50},
    {"malloc of 2^63 bytes", too_much, malloc_2_63},
    {"six blocks of 1 B to 64 KiB share a chunk", "2.00 MiB", six_small_blocks},
    {"blocks of 513 B lie 1 KiB apart", "1.00 KiB, even", small_stride},
    {"blocks of 1 MiB lie two to a chunk", "2.00 MiB, 0 B, 2.00 MiB, 0 B", one_mib_blocks},
    {"bigger blocks cost whole mappings", "2.00 MiB, 2.00 MiB, 4.00 MiB, 34.00 MiB", big_blocks},
    {"free gives everything back at once", "38.00 MiB, Success, Success, Success, 0 B", free_gives_all_back},
    {"the next allocation takes the first freed address", "Success, Success, a", first_freed_is_next},
    {"free waits for a running kernel", "Success, Success, Success, Success, Success, Success", free_waits},
    {"a read at byte 1000 of 1000", "Success, Success, Success", read_one_past},
    {"a read at the end of a small block's chunk", "Success, Success", read_chunk_end},
    {"a read of a freed 1000 B block", "Success, Success, Success, Success", read_freed_small},
    {"a read of a freed 64 MiB block",
     "Success, Success, IllegalAddress, IllegalAddress, IllegalAddress, IllegalAddress", read_freed_big,
     true},
    {"a fill past the end", "InvalidValue, Success, Success", fill_past_the_end},
    {"a copy past the end", "InvalidValue, Success, Success", copy_past_the_end},
    {"a fill of a freed block", "Success, InvalidValue, Success", fill_freed},
    {"attributes of live, freed and host pointers", "Success, device, unregistered, unregistered",
     pointer_kinds},
};

}  // namespace

std::span<const SemanticsRow> malloc_rows() { return rows; }

}  // namespace drought
