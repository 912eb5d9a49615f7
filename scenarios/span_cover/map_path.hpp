// The ways in which a resolver can turn an offset of a model file into a pointer that the GPU may read, in
// the order in which antirez/ds4 tries them, and the one query beside them. Each is a place where a guard
// can be forgotten.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace drought {

enum class MapPath : std::uint8_t {
  cached,          ///< A device copy that is already there.
  registered,      ///< The map itself, where its pages are registered.
  owned,           ///< A device image of everything the process may touch.
  hmm,             ///< The map itself, prefetched on a chip that reads pageable memory.
  direct,          ///< The map itself, because the user said so.
  fd_cache,        ///< Read from the file into an arena on the device.
  fd_fallback,     ///< The map itself, when the arena has no room.
  register_range,  ///< The map itself, after registering the pages of this range.
  device_copy,     ///< Copied from the map into memory of its own.
  is_cached,       ///< "Would this resolve without new memory?" Hands out nothing.
};
inline constexpr int map_path_count = static_cast<int>(MapPath::is_cached) + 1;

std::string_view name(MapPath path);
/// Throws std::invalid_argument that lists the known paths.
MapPath map_path_named(std::string_view name);
/// Every path that hands out pointers, in order.
std::vector<MapPath> resolving_paths();

}  // namespace drought
