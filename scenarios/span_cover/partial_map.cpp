#include "scenarios/span_cover/partial_map.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

/// FNV-1a (Fowler, Noll, Vo) over words.
class Digest {
 public:
  void add(std::uint64_t word) {
    for (int i = 0; i < 8; ++i) hash_ = (hash_ ^ (word >> (8 * i) & 0xFF)) * 0x100000001b3u;
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace

MapDefects MapDefects::named(const std::string& bug, const std::string& unguarded) {
  MapDefects defects;
  if (!unguarded.empty()) defects.unguarded = map_path_named(unguarded);
  if (defects.unguarded == MapPath::cached)
    throw std::invalid_argument(
        "path 'cached' has no guard to leave out: it only has what another path let through");
  if (bug == "interval") {
    defects.rule = PageCover::Rule::interval;
  } else if (bug == "wrapping_sum") {
    defects.rule = PageCover::Rule::wrapping_sum;
  } else if (bug == "keeps_spans") {
    defects.keeps_spans = true;
  } else if (bug == "registers_whole") {
    defects.registers_whole = true;
  } else if (bug == "validates_late") {
    defects.validates_late = true;
  } else if (bug == "any_base") {
    defects.any_base = true;
  } else if (bug != "none") {
    throw std::invalid_argument("unknown bug '" + bug +
                                "'; known: none, interval, wrapping_sum, keeps_spans, registers_whole, "
                                "validates_late, any_base");
  }
  return defects;
}

PartialMap::PartialMap(Rig& rig, Options options)
    : rig_(rig), options_(std::move(options)), arena_(rig.memory(), options_.arena) {}

bool PartialMap::set_map(const ModelFile& file, const Spans& spans) {
  if (options_.defects.validates_late) reset();
  if (!why_rejected(spans, file.bytes()).empty()) return false;
  Spans wanted = spans;
  if (options_.defects.keeps_spans) wanted.insert(wanted.end(), spans_.begin(), spans_.end());
  PageCover cover(wanted, file.bytes(), options_.page_bytes, options_.defects.rule);
  reset();
  rig_.ledger().declare_map({.name = options_.name,
                             .base = reinterpret_cast<std::uintptr_t>(file.base()),
                             .bytes = file.bytes(),
                             .page_bytes = options_.page_bytes,
                             .spans = spans});
  file_ = &file;
  spans_ = std::move(wanted);
  cover_ = std::move(cover);
  return true;
}

void PartialMap::reset() noexcept {
  windows_.clear();
  images_.clear();
  ranges_.clear();
  copies_.clear();
  arena_.clear();
  stage_.reset();
  shortage_.reset();
  spans_.clear();
  cover_ = PageCover();
  prefetched_ = direct_ = arena_full_ = cannot_register_ = false;
  if (file_) rig_.ledger().forget_map(options_.name);
  file_ = nullptr;
}

void PartialMap::cleanup() noexcept {
  reset();
  allowed_ = resolving_paths();
}

void PartialMap::register_regions() {
  const Spans whole{{0, file_->bytes()}};
  for (const SpanMap::Span& region : options_.defects.registers_whole ? whole : cover_.regions())
    register_pages(region.offset, round_up(region.offset + region.bytes, options_.page_bytes));
}

bool PartialMap::register_pages(std::uint64_t begin, std::uint64_t end) {
  std::uint64_t at = begin;
  for (std::size_t i = 0; i <= windows_.size() && at < end; ++i) {
    const bool is_last = i == windows_.size();
    const std::uint64_t until = is_last ? end : std::min(end, windows_[i].offset);
    if (at < until) {
      if (cannot_register_) return false;
      Status status{};
      Registration made(rig_.device(), file_->base() + at, until - at, status);
      if (status != Status::success) {
        note_refused(status);
        return false;
      }
      windows_.insert(windows_.begin() + static_cast<std::ptrdiff_t>(i),
                      Window{at, until - at, std::move(made)});
      at = until;
    } else if (!is_last) {
      at = std::max(at, windows_[i].offset + windows_[i].bytes);
    }
  }
  return true;
}

void PartialMap::note_refused(Status status) {
  if (!options_.copies_unregistered) {
    windows_.clear();
    throw DeviceError(status, "cudaHostRegister");
  }
  // A map that cannot be pinned at all is not worth asking again; a lack of memory may pass.
  cannot_register_ = status != Status::memory_allocation;
  rig_.record().fallbacks.push_back("cudaHostRegister answered " + name(status) +
                                    ": device copies of what is used instead");
}

bool PartialMap::is_registered(std::uint64_t offset, std::uint64_t bytes) const {
  std::uint64_t at = offset;
  const std::uint64_t end = offset + bytes;
  for (const Window& window : windows_) {
    if (at < window.offset) return false;
    at = std::max(at, std::min(end, window.offset + window.bytes));
    if (at == end) return true;
  }
  return false;
}

void PartialMap::own_regions() {
  std::vector<Image> made;
  for (const SpanMap::Span& region : cover_.regions()) {
    made.push_back({region.offset, Buffer(rig_.memory(), {.bytes = region.bytes, .tag = "owned_image"})});
    copy_out(file_->base() + region.offset, region.bytes, made.back().buffer.data());
  }
  must(rig_.device().stream_synchronize({}), "cudaStreamSynchronize");
  images_ = std::move(made);
}

bool PartialMap::prefetch_regions() {
  prefetched_ = rig_.device().profile().unified_memory;
  return prefetched_;
}

std::uint64_t PartialMap::registered_bytes() const {
  std::uint64_t bytes = 0;
  for (const Window& window : windows_) bytes += window.bytes;
  return bytes;
}

std::uint64_t PartialMap::digest() const {
  Digest digest;
  digest.add(file_ ? file_->bytes() : 0);
  for (const SpanMap::Span& region : cover_.regions()) {
    digest.add(region.offset);
    digest.add(region.bytes);
  }
  digest.add(windows_.size());
  for (const Window& window : windows_) {
    digest.add(window.offset);
    digest.add(window.bytes);
  }
  digest.add(images_.size());
  for (const Image& image : images_) digest.add(image.offset);
  digest.add(ranges_.size());
  for (const auto& [offset, range] : ranges_) {
    digest.add(offset);
    digest.add(range.bytes);
  }
  digest.add(copies_.size());
  digest.add(arena_.reserved_bytes());
  digest.add(arena_.used_bytes());
  for (const bool flag :
       {prefetched_, direct_, arena_full_, cannot_register_, shortage_.has_value(), stage_ != nullptr})
    digest.add(flag);
  return digest.value();
}

}  // namespace drought
