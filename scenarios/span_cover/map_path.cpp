#include "scenarios/span_cover/map_path.hpp"

#include <stdexcept>

namespace drought {
namespace {

constexpr std::string_view kNames[map_path_count] = {
    "cached",   "registered",  "owned",          "hmm",         "direct",
    "fd_cache", "fd_fallback", "register_range", "device_copy", "is_cached"};

}  // namespace

std::string_view name(MapPath path) { return kNames[static_cast<int>(path)]; }

MapPath map_path_named(std::string_view wanted) {
  std::string known;
  for (int i = 0; i < map_path_count; ++i) {
    if (kNames[i] == wanted) return static_cast<MapPath>(i);
    known += (i ? ", " : "") + std::string(kNames[i]);
  }
  throw std::invalid_argument("unknown path '" + std::string(wanted) + "'; known: " + known);
}

std::vector<MapPath> resolving_paths() {
  std::vector<MapPath> paths;
  for (int i = 0; i < map_path_count; ++i)
    if (static_cast<MapPath>(i) != MapPath::is_cached) paths.push_back(static_cast<MapPath>(i));
  return paths;
}

}  // namespace drought
