// What `drought fuzz` may draw of an allocator or a workload, told beside its options.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace drought {

/// An option: a whole number from `min` to `max`, or one of `values`, which are TOML; the first is the
/// simplest.
struct DrawnOption {
  constexpr DrawnOption(std::string_view option, std::uint64_t least, std::uint64_t most)
      : key(option), min(least), max(most) {}
  /// `of` is static.
  template <std::size_t kCount>
  constexpr DrawnOption(std::string_view option, const std::string_view (&of)[kCount])
      : key(option), max(kCount - 1), values(of) {}

  std::string_view key;
  std::uint64_t min = 0, max = 0;
  std::span<const std::string_view> values;
};

/// A step "verb S N" of a workload that does a list of them: S below `slots`, N at most `number_max`; 0
/// leaves either out.
struct DrawnVerb {
  std::string_view verb;
  std::uint64_t slots = 0, number_max = 0;
};
/// A workload: its options, and for each of up to `processes_max` tables called `process` a list `steps` of
/// verbs.
struct Drawn {
  std::span<const DrawnOption> options;
  std::span<const DrawnVerb> verbs;
  std::string_view process;
  std::size_t processes_max = 0;
  bool shapes = false;  ///< Its launches have no bodies.
  bool any() const { return !options.empty() || !verbs.empty(); }
};

}  // namespace drought
