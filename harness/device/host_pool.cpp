#include "harness/device/host_pool.hpp"

#include <algorithm>

namespace drought {

bool HostPool::open_arena() {
  if (is_open_) return true;
  // Room for four devices' worth, so that fragmentation ends memory by bytes and never by addresses.
  const std::size_t bytes =
      std::min(4 * round_up(profile_.total_bytes, 1_GiB), round_down(reservation_bytes_max(), 1_GiB));
  const auto begin = space_.take(bytes);
  if (!begin) return false;
  const std::uintptr_t first = round_up(*begin, profile_.pool_chunk_bytes);
  unlent_.give(first, round_down(bytes - (first - *begin), profile_.pool_chunk_bytes));
  return is_open_ = true;
}

void HostPool::map(std::uintptr_t chunk) {
  if (backed_) protect_pages(chunk, profile_.pool_chunk_bytes, Protection::read_write);
  chunks_.insert(chunk);
  idle_.give(chunk, profile_.pool_chunk_bytes);
  reserved_bytes_ += profile_.pool_chunk_bytes;
  reserved_high_bytes_ = std::max(reserved_high_bytes_, reserved_bytes_);
}

void HostPool::unmap(std::uintptr_t chunk) {
  if (backed_) drop_pages(chunk, profile_.pool_chunk_bytes);
  idle_.take_at(chunk, profile_.pool_chunk_bytes);
  chunks_.erase(chunk);
  reserved_bytes_ -= profile_.pool_chunk_bytes;
  budget_.give(profile_.pool_chunk_bytes);
}

bool HostPool::map_under(std::uintptr_t begin, std::size_t bytes) {
  const std::size_t step = profile_.pool_chunk_bytes;
  std::size_t missing = 0;
  for (std::uintptr_t chunk = round_down(begin, step); chunk < begin + bytes; chunk += step)
    missing += chunks_.count(chunk) == 0 ? 1 : 0;
  if (!budget_.take(missing * step)) return false;
  for (std::uintptr_t chunk = round_down(begin, step); chunk < begin + bytes; chunk += step)
    if (chunks_.count(chunk) == 0) map(chunk);
  return true;
}

Status HostPool::malloc(std::uintptr_t& out, std::size_t bytes, Stream stream) {
  if (bytes > budget_.total_bytes() || !open_arena()) return Status::memory_allocation;
  const std::size_t wanted = slot_bytes(bytes);
  if (const auto idle = idle_.take(wanted)) {
    out = *idle;
    unlent_.take_at(out, wanted);
  } else {
    const auto fresh = unlent_.take(wanted);
    if (!fresh) return Status::memory_allocation;
    if (!map_under(*fresh, wanted)) {
      unlent_.give(*fresh, wanted);
      return Status::memory_allocation;
    }
    out = *fresh;
    idle_.take_at(out, wanted);
  }
  blocks_.insert({out, bytes});
  used_bytes_ += wanted;
  used_high_bytes_ = std::max(used_high_bytes_, used_bytes_);
  wait_for_frees(out, wanted, stream);
  return Status::success;
}

Status HostPool::free(std::uintptr_t begin, Stream stream) {
  const auto block = blocks_.at(begin);
  if (!block) return Status::invalid_value;
  const std::size_t bytes = slot_bytes(block->bytes);
  blocks_.erase(begin);
  unlent_.give(begin, bytes);
  idle_.give(begin, bytes);
  used_bytes_ -= bytes;
  const auto ends = [this](const Event* event) {
    streams_.destroy_event(*event);
    delete event;
  };
  const std::shared_ptr<const Event> event(new Event(streams_.create_event()), ends);
  streams_.record(*event, stream);
  pending_[begin] = {begin + bytes, stream, event};
  return Status::success;
}

void HostPool::forget_reached_frees() {
  std::erase_if(pending_, [&](const auto& freed) { return !streams_.is_pending(*freed.second.event); });
}

void HostPool::wait_for_frees(std::uintptr_t begin, std::size_t bytes, Stream stream) {
  forget_reached_frees();
  const std::uintptr_t end = begin + bytes;
  auto it = pending_.upper_bound(begin);
  if (it != pending_.begin() && std::prev(it)->second.end > begin) --it;
  while (it != pending_.end() && it->first < end) {
    const auto [start, freed] = *it;
    // From here on the block's own order stands for its part of the freed range.
    if (freed.stream != stream) streams_.wait(stream, *freed.event);
    it = pending_.erase(it);
    if (start < begin) pending_[start] = {begin, freed.stream, freed.event};
    if (freed.end > end) pending_[end] = freed;
  }
}

bool HostPool::is_idle(std::uintptr_t chunk) const {
  if (!idle_.holds(chunk, profile_.pool_chunk_bytes)) return false;
  auto it = pending_.upper_bound(chunk);
  if (it != pending_.begin() && std::prev(it)->second.end > chunk) return false;
  return it == pending_.end() || it->first >= chunk + profile_.pool_chunk_bytes;
}

std::size_t HostPool::trim(std::size_t keep_bytes) {
  forget_reached_frees();
  std::size_t given_back = 0;
  for (auto it = chunks_.end(); it != chunks_.begin() && reserved_bytes_ > keep_bytes;) {
    const std::uintptr_t chunk = *--it;
    if (!is_idle(chunk)) continue;
    ++it;
    unmap(chunk);
    given_back += profile_.pool_chunk_bytes;
  }
  return given_back;
}

std::size_t HostPool::idle_bytes() {
  forget_reached_frees();
  return static_cast<std::size_t>(std::count_if(chunks_.begin(), chunks_.end(),
                                                [&](std::uintptr_t chunk) { return is_idle(chunk); })) *
         profile_.pool_chunk_bytes;
}

std::uintptr_t HostPool::mapped_until(std::uintptr_t address) const {
  const auto chunk = chunks_.find(round_down(address, profile_.pool_chunk_bytes));
  return chunk == chunks_.end() ? 0 : *chunk + profile_.pool_chunk_bytes;
}

}  // namespace drought
