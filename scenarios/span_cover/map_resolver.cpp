// How a partial map finds a pointer: the guard before every path, and the paths.
#include <algorithm>

#include "scenarios/span_cover/partial_map.hpp"

namespace drought {

PartialMap::Answer PartialMap::resolve(const std::byte* base, std::uint64_t offset, std::uint64_t bytes) {
  if (!file_ || (base != file_->base() && !options_.defects.any_base)) return {.refused = true};
  const bool admitted = cover_.admits(offset, bytes);
  shortage_.reset();
  for (const MapPath path : allowed_) {
    if (!admitted && !is_unguarded(path)) continue;
    const std::byte* const found = bytes == 0 ? at(offset) : by(path, offset, bytes);
    if (found) return {.data = found, .path = path, .granted = true};
  }
  if (admitted && shortage_) throw OutOfMemory(*shortage_);
  return {.refused = !admitted};
}

bool PartialMap::is_cached(const std::byte* base, std::uint64_t offset, std::uint64_t bytes) const {
  if (!file_ || base != file_->base()) return false;
  if (is_unguarded(MapPath::is_cached) && (!windows_.empty() || !images_.empty() || prefetched_)) return true;
  if (!cover_.admits(offset, bytes)) return false;
  return std::any_of(allowed_.begin(), allowed_.end(),
                     [&](MapPath path) { return bytes == 0 || resident_by(path, offset, bytes) != nullptr; });
}

const std::byte* PartialMap::by(MapPath path, std::uint64_t offset, std::uint64_t bytes) {
  switch (path) {
    case MapPath::fd_cache:
      return by_fd_cache(offset, bytes);
    case MapPath::register_range:
      return by_new_window(offset, bytes);
    case MapPath::device_copy:
      return by_device_copy(offset, bytes);
    default:
      return resident_by(path, offset, bytes);
  }
}

const std::byte* PartialMap::resident_by(MapPath path, std::uint64_t offset, std::uint64_t bytes) const {
  // Without the guard one flag for the whole file stood for every range of it.
  const bool anything = is_unguarded(path);
  const std::byte* const raw = at(offset);
  switch (path) {
    case MapPath::cached:
      return by_cache(offset, bytes);
    case MapPath::registered:
      return (anything ? !windows_.empty() : is_registered(offset, bytes)) ? raw : nullptr;
    case MapPath::owned:
      if (anything && !images_.empty()) return raw;
      return by_image(offset, bytes);
    case MapPath::hmm:
      return prefetched_ ? raw : nullptr;
    case MapPath::direct:
      return direct_ ? raw : nullptr;
    case MapPath::fd_fallback: {
      const bool registered = anything ? !windows_.empty() : is_registered(offset, bytes);
      return registered || prefetched_ || direct_ ? raw : nullptr;
    }
    default:
      return nullptr;
  }
}

const std::byte* PartialMap::by_cache(std::uint64_t offset, std::uint64_t bytes) const {
  auto after = ranges_.upper_bound(offset);
  while (after != ranges_.begin()) {
    const auto& [start, range] = *--after;
    const std::uint64_t into = offset - start;
    if (into <= range.bytes && bytes <= range.bytes - into) return range.data + into;
  }
  return nullptr;
}

const std::byte* PartialMap::by_image(std::uint64_t offset, std::uint64_t bytes) const {
  for (const Image& image : images_) {
    if (offset < image.offset) continue;
    const std::uint64_t into = offset - image.offset;
    if (into <= image.buffer.bytes() && bytes <= image.buffer.bytes() - into)
      return image.buffer.data() + into;
  }
  return nullptr;
}

const std::byte* PartialMap::by_fd_cache(std::uint64_t offset, std::uint64_t bytes) {
  if (arena_full_ || !inside_file(offset, bytes)) return nullptr;
  std::optional<WeightArena::Room> room;
  try {
    room.emplace(arena_.take(bytes));
  } catch (const OutOfMemory& refusal) {
    arena_full_ = true;
    shortage_ = refusal;
    rig_.record().fallbacks.push_back(std::string("no arena: ") + refusal.what());
    return nullptr;
  }
  if (!room->data()) return nullptr;
  if (!stage_) stage_ = std::make_unique<PinnedStage>(rig_.device(), options_.stage_bytes);
  for (std::uint64_t done = 0; done < bytes;) {
    const std::size_t piece = std::min<std::uint64_t>(stage_->bytes(), bytes - done);
    if (rig_.full()) file_->read(offset + done, {stage_->data(), piece});
    must(rig_.device().memcpy(room->data() + done, stage_->data(), piece), "cudaMemcpy");
    must(rig_.device().stream_synchronize({}), "cudaStreamSynchronize");
    done += piece;
  }
  const std::byte* const data = room->keep();
  ranges_.insert_or_assign(offset, Range{bytes, data});
  return data;
}

const std::byte* PartialMap::by_new_window(std::uint64_t offset, std::uint64_t bytes) {
  if (!inside_file(offset, bytes)) return nullptr;
  const std::uint64_t begin = round_down(offset, options_.page_bytes);
  const std::uint64_t end = round_up(offset + bytes, options_.page_bytes);
  return register_pages(begin, end) ? file_->base() + offset : nullptr;
}

const std::byte* PartialMap::by_device_copy(std::uint64_t offset, std::uint64_t bytes) {
  if (!inside_file(offset, bytes)) return nullptr;
  Buffer copy(rig_.memory(), {.bytes = bytes, .tag = "device_copy"});
  copy_out(file_->base() + offset, bytes, copy.data());
  must(rig_.device().stream_synchronize({}), "cudaStreamSynchronize");
  const std::byte* const data = copy.data();
  copies_.push_back(std::move(copy));
  ranges_.insert_or_assign(offset, Range{bytes, data});
  return data;
}

void PartialMap::copy_out(const std::byte* granted, std::uint64_t bytes, void* to) {
  const bool in_map = granted >= file_->base() && granted < at(file_->bytes());
  for (std::uint64_t done = 0; done < bytes;) {
    std::uint64_t until = bytes;
    const std::uint64_t offset = in_map ? static_cast<std::uint64_t>(granted - file_->base()) + done : 0;
    for (std::size_t i = 0; in_map && i < windows_.size(); ++i)
      for (const std::uint64_t seam : {windows_[i].offset, windows_[i].offset + windows_[i].bytes})
        if (seam > offset) until = std::min(until, done + (seam - offset));
    must(rig_.device().memcpy(static_cast<std::byte*>(to) + done, granted + done, until - done),
         "cudaMemcpy");
    done = until;
  }
}

}  // namespace drought
