// The rows on the stream-ordered pool and on managed memory.
#include <cstdint>
#include <limits>

#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

constexpr std::size_t keep_all = std::numeric_limits<std::size_t>::max();

Stream stream_of(Device& device) {
  Stream stream;
  if (device.stream_create(stream) != Status::success)
    throw DeviceError(device.peek_last_error(), "cudaStreamCreate");
  return stream;
}

void* async_or_null(Device& device, std::size_t bytes, Stream stream) {
  void* out = nullptr;
  return device.malloc_async(out, bytes, stream) == Status::success ? out : nullptr;
}

std::string pool_grows(Device& device) {
  warm_up(device);
  const Stream stream = stream_of(device);
  Observed observed;
  for (const std::size_t bytes : {1_MiB, 40_MiB}) {
    const std::size_t before = free_bytes(device);
    async_or_null(device, bytes, stream);
    observed.cost(before, free_bytes(device));
  }
  return observed;
}

std::string pool_gives_back(Device& device) {
  warm_up(device);
  const Stream stream = stream_of(device);
  const std::size_t before = free_bytes(device);
  void* const block = async_or_null(device, 64_MiB, stream);
  Observed observed;
  observed.cost(before, free_bytes(device));
  observed << device.free_async(block, stream);
  observed.cost(before, free_bytes(device)) << device.stream_synchronize(stream);
  return observed.cost(before, free_bytes(device));
}

std::string pool_keeps(Device& device) {
  const Stream stream = stream_of(device);
  Observed observed;
  observed << device.pool_set_release_threshold(keep_all);
  void* const block = async_or_null(device, 64_MiB, stream);
  observed << device.free_async(block, stream) << device.stream_synchronize(stream);
  PoolAttributes pool;
  observed << device.pool_attributes(pool) << format_bytes(pool.reserved_bytes)
           << format_bytes(pool.used_bytes) << device.pool_trim(0);
  observed << device.pool_attributes(pool) << format_bytes(pool.reserved_bytes);
  return observed << format_bytes(pool.reserved_high_bytes);
}

std::string pool_lends_to_another_stream(Device& device, bool synchronizes) {
  const Stream first = stream_of(device), second = stream_of(device);
  Observed observed;
  observed << device.pool_set_release_threshold(keep_all);
  void* const block = async_or_null(device, 64_MiB, first);
  observed << probe_write_late(device, block, 7, first) << device.free_async(block, first);
  if (synchronizes) observed << device.stream_synchronize(first);
  return observed << (async_or_null(device, 64_MiB, second) == block ? "the same" : "another");
}

std::string pool_lends_after(Device& device) { return pool_lends_to_another_stream(device, true); }
std::string pool_lends_before(Device& device) { return pool_lends_to_another_stream(device, false); }

std::string pool_orders_streams(Device& device) {
  const Stream first = stream_of(device), second = stream_of(device);
  void* const block = async_or_null(device, 64_MiB, first);
  Observed observed;
  observed << probe_write_late(device, block, 7, first) << device.free_async(block, first);
  void* const again = async_or_null(device, 64_MiB, second);
  observed << (again == block ? "the same" : "another") << probe_write(device, again, 9, second);
  std::uint8_t value = 0;
  observed << device.memcpy(&value, again, 1, second) << device.synchronize();
  return observed << std::to_string(value);
}

std::string pool_free_twice(Device& device) {
  const Stream stream = stream_of(device);
  void* const block = async_or_null(device, 64_MiB, stream);
  Observed observed;
  observed << device.free_async(block, stream);
  return observed << device.free_async(block, stream);
}

std::string malloc_takes_the_cache(Device& device) {
  warm_up(device);
  const Stream stream = stream_of(device);
  Observed observed;
  observed << device.pool_set_release_threshold(keep_all);
  void* const cached = async_or_null(device, 100_GiB, stream);
  observed << device.free_async(cached, stream) << device.stream_synchronize(stream);
  PoolAttributes pool;
  observed << device.pool_attributes(pool) << format_bytes(pool.reserved_bytes);
  void* block = nullptr;
  return observed << device.malloc(block, 100_GiB);
}

std::string pool_odd_sizes(Device& device) {
  const Stream stream = stream_of(device);
  void* out = nullptr;
  Observed observed;
  observed << device.malloc_async(out, 0, stream);
  return observed << device.malloc_async(out, std::size_t{1} << 50, stream);
}

std::string free_of_the_other_kind(Device& device) {
  const Stream stream = stream_of(device);
  void* const pooled = async_or_null(device, 64_MiB, stream);
  void* const plain = malloc_or_null(device, 64_MiB);
  Observed observed;
  observed << device.free(pooled) << device.free_async(plain, stream);
  return observed << device.stream_synchronize(stream);
}

std::string managed_first_touch(Device& device) {
  warm_up(device);
  void* block = nullptr;
  Observed observed;
  observed << device.malloc_managed(block, 32_MiB);
  const std::size_t before = free_bytes(device);
  auto* const bytes = static_cast<std::uint8_t*>(block);
  observed << probe_write(device, bytes, 1) << device.synchronize();
  observed.cost(before, free_bytes(device));
  Status rest = Status::success;
  for (std::size_t at = 0; at < 32_MiB && rest == Status::success; at += 64_KiB)
    rest = probe_write(device, bytes + at, 1);
  observed << rest << device.synchronize();
  return observed.cost(before, free_bytes(device));
}

std::string managed_free(Device& device) {
  void* block = nullptr;
  Observed observed;
  observed << device.malloc_managed(block, 32_MiB) << device.free(block);
  return observed << device.malloc_managed(block, std::size_t{1} << 50);
}

constexpr SemanticsRow rows[] = {
    {"the pool grows in chunks of 32 MiB", "32.00 MiB, 32.00 MiB", pool_grows},
    {"the pool gives back at a synchronisation what was freed", "64.00 MiB, Success, 64.00 MiB, Success, 0 B",
     pool_gives_back},
    {"the pool keeps what its threshold allows, until it is trimmed",
     "Success, Success, Success, Success, 64.00 MiB, 0 B, Success, Success, 0 B, 64.00 MiB", pool_keeps},
    {"a freed block after synchronising, on another stream", "Success, Success, Success, Success, the same",
     pool_lends_after},
    {"a freed block before synchronising, on another stream", "Success, Success, Success, the same",
     pool_lends_before},
    {"a freed block on another stream waits for the first one's work",
     "Success, Success, the same, Success, Success, Success, 9", pool_orders_streams, false, true},
    {"cudaFreeAsync twice", "Success, InvalidValue", pool_free_twice},
    {"cudaMalloc of 100 GiB while the pool caches 100 GiB",
     "Success, Success, Success, Success, 100.00 GiB, Success", malloc_takes_the_cache},
    {"cudaMallocAsync of nothing and of 2^50 bytes", "Success, MemoryAllocation", pool_odd_sizes},
    {"cudaFree of an async block, cudaFreeAsync of a plain one", "Success, Success, Success",
     free_of_the_other_kind},
    {"the first touch of managed memory takes 128 MiB",
     "Success, Success, Success, 128.00 MiB, Success, Success, 128.00 MiB", managed_first_touch},
    {"cudaFree of managed memory, managed memory of 2^50 bytes", "Success, Success, MemoryAllocation",
     managed_free},
};

}  // namespace

std::span<const SemanticsRow> pool_rows() { return rows; }

}  // namespace drought
