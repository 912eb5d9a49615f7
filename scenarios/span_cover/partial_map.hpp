// A model file of which this process may touch only some spans, and the resolver that turns file offsets
// into pointers for kernels: antirez/ds4's loader for a layer slice, with every way it has of finding an
// address, each behind the same guard. State belongs to one map: a new map starts from nothing.
//
// Its defects are the historic ones, each switched on by a name; with none, nothing outside the spans is
// handed out, registered or read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "scenarios/span_cover/map_path.hpp"
#include "scenarios/span_cover/model_file.hpp"
#include "scenarios/span_cover/page_cover.hpp"
#include "scenarios/span_cover/pinned.hpp"
#include "scenarios/span_cover/weight_arena.hpp"

namespace drought {

/// What was wrong with partial maps in the past.
struct MapDefects {
  PageCover::Rule rule = PageCover::Rule::pages;
  bool keeps_spans = false;      ///< A new map inherits the spans of the one before.
  bool registers_whole = false;  ///< The whole file is registered, whatever the spans are.
  bool validates_late = false;   ///< A table is looked at after the old state is gone.
  bool any_base = false;         ///< Offsets are resolved without asking into which map.
  std::optional<MapPath> unguarded;

  /// `bug` is "none" or one of interval, wrapping_sum, keeps_spans, registers_whole, validates_late,
  /// any_base; `unguarded` is "" or a path other than cached, which only has what another path let through.
  /// Throws std::invalid_argument that lists the known words.
  static MapDefects named(const std::string& bug, const std::string& unguarded);
};

class PartialMap {
 public:
  struct Options {
    std::string name = "model";
    std::size_t page_bytes = 4096;
    std::size_t stage_bytes = 64_MiB;  ///< Pinned, for file contents on their way; ds4's copy chunk.
    WeightArena::Options arena;
    bool copies_unregistered = true;  ///< false: a refused registration is an error.
    MapDefects defects;
  };
  struct Answer {
    const std::byte* data = nullptr;
    MapPath path = MapPath::cached;
    bool granted = false;
    bool refused = false;  ///< Outside the spans. Neither: nothing that was allowed could serve it.
  };

  /// `rig` outlives this. Nothing is mapped yet and every path is allowed.
  PartialMap(Rig& rig, Options options);
  ~PartialMap() { cleanup(); }
  PartialMap(const PartialMap&) = delete;
  PartialMap& operator=(const PartialMap&) = delete;

  /// Installs `spans` of `file`, which outlives its use here, and declares them to the ledger. Everything of
  /// the map before is given back. False, and nothing changes, when the table cannot be. Takes no memory.
  bool set_map(const ModelFile& file, const Spans& spans);
  /// Gives everything back; as new.
  void cleanup() noexcept;

  /// Registers every region of the spans. A refusal is recorded as a fallback, or thrown as DeviceError
  /// under copies_unregistered = false, when everything registered here has been given back.
  void register_regions();
  /// Copies every region to the device. Throws OutOfMemory or DeviceError, and keeps none then.
  void own_regions();
  /// Makes the regions readable in place. False on a chip that cannot read pageable memory.
  bool prefetch_regions();
  void use_direct() { direct_ = true; }
  void allow(std::vector<MapPath> paths) { allowed_ = std::move(paths); }

  /// A pointer to `bytes` bytes at `offset` of the map at `base`, by the first allowed path that has one.
  /// Valid until the next set_map or cleanup. No bytes at all are granted where a region begins, goes on
  /// or ends. Throws OutOfMemory when only memory is lacking, DeviceError.
  Answer resolve(const std::byte* base, std::uint64_t offset, std::uint64_t bytes);
  /// Whether resolve would succeed by allowed paths without new memory or registrations.
  bool is_cached(const std::byte* base, std::uint64_t offset, std::uint64_t bytes) const;

  /// Enqueues a copy of what resolve granted, piecewise where registrations meet: one copy may not cross
  /// from one into the next. Throws DeviceError.
  void copy_out(const std::byte* granted, std::uint64_t bytes, void* to);

  const PageCover& cover() const { return cover_; }
  std::uint64_t registered_bytes() const;
  /// Of all state that an answer may depend on; no addresses.
  std::uint64_t digest() const;

 private:
  struct Window {
    std::uint64_t offset = 0, bytes = 0;
    Registration registration;
  };
  struct Image {
    std::uint64_t offset = 0;
    Buffer buffer;
  };
  struct Range {
    std::uint64_t bytes = 0;
    const std::byte* data = nullptr;
  };

  bool is_unguarded(MapPath path) const { return options_.defects.unguarded == path; }
  /// Without a look at the size of the file; wraps as addresses do.
  const std::byte* at(std::uint64_t offset) const {
    return reinterpret_cast<const std::byte*>(reinterpret_cast<std::uintptr_t>(file_->base()) + offset);
  }
  bool inside_file(std::uint64_t offset, std::uint64_t bytes) const {
    return offset <= file_->bytes() && bytes <= file_->bytes() - offset;
  }
  /// Null when this path has nothing for the range. `bytes` > 0 and the guard was asked.
  const std::byte* by(MapPath path, std::uint64_t offset, std::uint64_t bytes);
  /// The same for the paths that take nothing new.
  const std::byte* resident_by(MapPath path, std::uint64_t offset, std::uint64_t bytes) const;
  const std::byte* by_cache(std::uint64_t offset, std::uint64_t bytes) const;
  const std::byte* by_image(std::uint64_t offset, std::uint64_t bytes) const;
  const std::byte* by_fd_cache(std::uint64_t offset, std::uint64_t bytes);
  const std::byte* by_new_window(std::uint64_t offset, std::uint64_t bytes);
  const std::byte* by_device_copy(std::uint64_t offset, std::uint64_t bytes);

  bool is_registered(std::uint64_t offset, std::uint64_t bytes) const;
  /// Whether the pages [begin, end) are registered now; each gap between older windows becomes one.
  bool register_pages(std::uint64_t begin, std::uint64_t end);
  void note_refused(Status status);
  void reset() noexcept;

  Rig& rig_;
  const Options options_;
  std::vector<MapPath> allowed_ = resolving_paths();

  // State of one map; reset() makes it new.
  const ModelFile* file_ = nullptr;
  Spans spans_;
  PageCover cover_;
  std::vector<Window> windows_;  ///< Sorted, disjoint.
  std::vector<Image> images_;
  std::map<std::uint64_t, Range> ranges_;  ///< Device copies by their offset.
  std::vector<Buffer> copies_;
  WeightArena arena_;
  std::unique_ptr<PinnedStage> stage_;
  std::optional<OutOfMemory> shortage_;  ///< The last that a path ran into.
  bool prefetched_ = false, direct_ = false, arena_full_ = false, cannot_register_ = false;
};

}  // namespace drought
