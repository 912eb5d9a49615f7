// Asks a partial map for ranges and writes down each answer beside the ledger's own judgement, and reads
// what was granted as a kernel would, so that the ledger judges the pointers as well as the words.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "scenarios/span_cover/map_requests.hpp"
#include "scenarios/span_cover/model_file.hpp"
#include "scenarios/span_cover/partial_map.hpp"

namespace drought {

/// A map that the process has besides its model and may touch nothing of.
class ForeignMap {
 public:
  ForeignMap(Ledger& ledger, std::uint64_t bytes, std::size_t page_bytes) : ledger_(ledger), file_(bytes) {
    id_ = ledger_.declare_map({.name = "foreign",
                               .base = reinterpret_cast<std::uintptr_t>(file_.base()),
                               .bytes = bytes,
                               .page_bytes = page_bytes});
  }
  ~ForeignMap() { ledger_.forget_map("foreign"); }
  ForeignMap(const ForeignMap&) = delete;
  ForeignMap& operator=(const ForeignMap&) = delete;
  const std::byte* base() const { return file_.base(); }
  std::uint64_t id() const { return id_; }

 private:
  Ledger& ledger_;
  ModelFile file_;
  std::uint64_t id_;
};

class MapExaminer {
 public:
  /// How much of what lies inside the spans is asked for. sample: of each kind of request as much as is
  /// read, where each new range costs memory.
  enum class Ask : std::uint8_t { all, sample };

  /// Everything outlives this. `scratch` is where reads go; longer ranges are not read. Of each kind of
  /// request one is read, of whole tensors `tensor_reads`.
  MapExaminer(Rig& rig, PartialMap& map, const ModelFile& file, const ForeignMap& foreign,
              const Buffer& scratch, std::size_t tensor_reads)
      : rig_(rig),
        map_(map),
        file_(file),
        foreign_(foreign),
        scratch_(scratch),
        tensor_reads_(tensor_reads) {}

  /// A refusal is written down under `path`, a grant under the path that made it. Everything is asked for
  /// where that takes nothing new. Throws what resolving and reading throw.
  void ask(const std::vector<MapRequest>& requests, MapPath path) {
    ask(requests, path, serves_all() ? Ask::all : Ask::sample);
  }
  void ask(const std::vector<MapRequest>& requests, MapPath path, Ask how);
  /// Answers other than "no" so far, path by path: a path that stood by idle shows here.
  std::size_t granted(MapPath path) const { return granted_[static_cast<std::size_t>(path)]; }
  void ask_whether_cached(const std::vector<MapRequest>& requests);

 private:
  bool serves_all() const;
  bool truth(const MapRequest& request) const;
  std::uint64_t id_of(const MapRequest& request) const;
  const std::byte* base_of(const MapRequest& request) const {
    return request.foreign ? foreign_.base() : file_.base();
  }
  void read_back(const MapRequest& request, const PartialMap::Answer& answer);

  Rig& rig_;
  PartialMap& map_;
  const ModelFile& file_;
  const ForeignMap& foreign_;
  const Buffer& scratch_;
  const std::size_t tensor_reads_;
  std::array<std::size_t, map_path_count> granted_{};
};

}  // namespace drought
