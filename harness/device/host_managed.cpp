#include "harness/device/host_managed.hpp"

#include <algorithm>

namespace drought {

Status HostManaged::malloc(std::uintptr_t& out, std::size_t bytes) {
  if (bytes > profile_.address_space_bytes) return Status::memory_allocation;
  const std::size_t mapped_bytes = round_up(bytes, page_bytes());
  const auto begin = space_.take(mapped_bytes);
  if (!begin) return Status::memory_allocation;
  if (backed_) protect_pages(*begin, mapped_bytes, Protection::read_write);
  blocks_.insert({*begin, bytes});
  out = *begin;
  return Status::success;
}

Status HostManaged::free(std::uintptr_t begin) {
  const auto block = blocks_.at(begin);
  if (!block) return Status::invalid_value;
  const std::size_t mapped_bytes = round_up(block->bytes, page_bytes());
  for (std::uintptr_t page = begin; page < begin + mapped_bytes && !pages_.empty(); page += page_bytes())
    send_away(page);
  shrink();
  blocks_.erase(begin);
  if (backed_) drop_pages(begin, mapped_bytes);
  space_.give(begin, mapped_bytes);
  return Status::success;
}

std::uintptr_t HostManaged::mapped_until(std::uintptr_t address) const {
  const auto block = blocks_.at_or_before(address);
  if (!block) return 0;
  const std::uintptr_t end = block->begin + round_up(block->bytes, page_bytes());
  return address < end ? end : 0;
}

bool HostManaged::has_room_for_a_page() {
  if (resident_bytes() + page_bytes() <= held_bytes_) return true;
  const std::size_t more =
      std::min(profile_.managed_chunk_bytes, round_down(budget_.free_bytes(), page_bytes()));
  if (more == 0) return false;
  budget_.take(more);
  held_bytes_ += more;
  return true;
}

bool HostManaged::bring(std::uintptr_t page) {
  if (!has_room_for_a_page()) {
    if (by_age_.empty()) return false;
    traffic_.evicted_bytes += page_bytes();
    send_away(by_age_.front());
  }
  pages_[page] = by_age_.insert(by_age_.end(), page);
  return true;
}

void HostManaged::send_away(std::uintptr_t page) {
  const auto found = pages_.find(page);
  if (found == pages_.end()) return;
  by_age_.erase(found->second);
  pages_.erase(found);
}

void HostManaged::shrink() {
  const std::size_t needed = round_up(resident_bytes(), profile_.managed_chunk_bytes);
  if (needed >= held_bytes_) return;
  budget_.give(held_bytes_ - needed);
  held_bytes_ = needed;
}

void HostManaged::touch(std::uintptr_t begin, std::size_t bytes) {
  for (std::uintptr_t page = round_down(begin, page_bytes()); page < begin + bytes; page += page_bytes()) {
    if (const auto found = pages_.find(page); found != pages_.end()) {
      by_age_.splice(by_age_.end(), by_age_, found->second);
    } else {
      (bring(page) ? traffic_.faulted_bytes : traffic_.remote_bytes) += page_bytes();
    }
  }
}

void HostManaged::prefetch(std::uintptr_t begin, std::size_t bytes, Residence to) {
  for (std::uintptr_t page = round_down(begin, page_bytes()); page < begin + bytes; page += page_bytes()) {
    const bool is_here = pages_.count(page) != 0;
    if (to == Residence::device ? !is_here && bring(page) : is_here)
      traffic_.prefetched_bytes += page_bytes();
    if (to == Residence::host) send_away(page);
  }
  shrink();
}

void HostManaged::make_room(std::size_t bytes) {
  while (budget_.free_bytes() < bytes && held_bytes_ > 0) {
    const std::size_t unused = held_bytes_ - resident_bytes();
    if (unused == 0) {
      traffic_.evicted_bytes += page_bytes();
      send_away(by_age_.front());
      continue;
    }
    const std::size_t given = std::min(unused, bytes - budget_.free_bytes());
    const std::size_t pages = std::min(unused, round_up(given, page_bytes()));
    held_bytes_ -= pages;
    budget_.give(pages);
  }
}

}  // namespace drought
