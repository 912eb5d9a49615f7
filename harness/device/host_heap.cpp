#include "harness/device/host_heap.hpp"

namespace drought {

Status HostHeap::map(std::uintptr_t& out, std::size_t bytes) {
  if (!budget_.take(bytes)) return Status::memory_allocation;
  const auto begin = space_.take(bytes);
  if (!begin) {
    budget_.give(bytes);
    return Status::memory_allocation;
  }
  if (backed_) protect_pages(*begin, bytes, Protection::read_write);
  out = *begin;
  return Status::success;
}

void HostHeap::unmap(std::uintptr_t begin, std::size_t bytes) {
  if (backed_) drop_pages(begin, bytes);
  space_.give(begin, bytes);
  budget_.give(bytes);
}

Status HostHeap::malloc(std::uintptr_t& out, std::size_t bytes) {
  const std::size_t chunk_bytes = profile_.granularity_bytes;
  if (!is_small(bytes)) {
    if (bytes > budget_.free_bytes()) return Status::memory_allocation;
    const Status mapped = map(out, round_up(bytes, chunk_bytes));
    if (mapped == Status::success) blocks_.insert({out, bytes});
    return mapped;
  }
  const std::size_t slot_bytes = round_up(bytes, profile_.small_stride_bytes);
  auto slot = slots_.take(slot_bytes);
  if (!slot) {
    std::uintptr_t chunk = 0;
    if (const Status mapped = map(chunk, chunk_bytes); mapped != Status::success) return mapped;
    chunks_.insert({chunk, chunk_bytes});
    slots_.give(chunk, chunk_bytes);
    slot = slots_.take(slot_bytes);
  }
  const std::uintptr_t chunk = round_down(*slot, chunk_bytes);
  chunks_.set_value(chunk, chunks_.at(chunk)->value + 1);
  blocks_.insert({*slot, bytes});
  out = *slot;
  return Status::success;
}

Status HostHeap::free(std::uintptr_t begin) {
  const auto block = blocks_.at(begin);
  if (!block) return Status::invalid_value;
  blocks_.erase(begin);
  const std::size_t chunk_bytes = profile_.granularity_bytes;
  if (!is_small(block->bytes)) {
    unmap(begin, round_up(block->bytes, chunk_bytes));
    return Status::success;
  }
  slots_.give(begin, round_up(block->bytes, profile_.small_stride_bytes));
  const std::uintptr_t chunk = round_down(begin, chunk_bytes);
  const std::uint64_t live = chunks_.at(chunk)->value - 1;
  if (live > 0) {
    chunks_.set_value(chunk, live);
    return Status::success;
  }
  slots_.remove(chunk);
  chunks_.erase(chunk);
  unmap(chunk, chunk_bytes);
  return Status::success;
}

std::uintptr_t HostHeap::mapped_until(std::uintptr_t address) const {
  if (const auto chunk = chunks_.containing(address)) return chunk->end();
  const auto block = blocks_.at_or_before(address);
  if (!block) return 0;
  const std::uintptr_t end = block->begin + round_up(block->bytes, profile_.granularity_bytes);
  return !is_small(block->bytes) && address < end ? end : 0;
}

}  // namespace drought
