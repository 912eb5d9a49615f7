// The caching allocator with one rule wrong: each must show as a difference when a recorded trace is
// replayed, or the comparison is worth nothing.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace drought {

enum class CachingMutant : std::uint8_t {
  none,
  splits_at_one_mib,     ///< A large block with exactly 1 MiB to spare is split.
  keeps_apart,           ///< Free neighbours in a segment of a fixed size are not merged.
  collects_only_enough,  ///< Garbage collection stops when it has freed what is needed.
  collects_only_older,   ///< It spares what is exactly of average age.
  small_before_large,    ///< Cached segments of the small pool go back first.
  lends_oversize,        ///< A small request may take a block above max_split_size.
  rounds_freely,         ///< A large one may take a block however much larger.
  skips_available,       ///< All that is cached goes back at the first refusal.
  ignores_growth,        ///< What a block could grow to does not count in best fit.
  caps_requests,         ///< The cap counts the request, not the segment that it needs.
  ends
};

inline constexpr std::array<std::string_view, 11> kCachingMutants{"",
                                                                  "splits_at_one_mib",
                                                                  "keeps_apart",
                                                                  "collects_only_enough",
                                                                  "collects_only_older",
                                                                  "small_before_large",
                                                                  "lends_oversize",
                                                                  "rounds_freely",
                                                                  "skips_available",
                                                                  "ignores_growth",
                                                                  "caps_requests"};
static_assert(kCachingMutants.size() == static_cast<std::size_t>(CachingMutant::ends));

/// Throws std::invalid_argument that lists the known ones.
inline CachingMutant caching_mutant_named(const std::string& word) {
  std::string known;
  for (std::size_t i = 0; i < kCachingMutants.size(); ++i) {
    if (kCachingMutants[i] == word) return static_cast<CachingMutant>(i);
    if (i) known += (i > 1 ? ", " : "") + std::string(kCachingMutants[i]);
  }
  throw std::invalid_argument("caching: unknown mutant '" + word + "'; known: " + known);
}

}  // namespace drought
