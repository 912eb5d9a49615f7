// What a guarded block must show of each kind of stray access, on whichever lane: the cases are asked of the
// guard as it is and of one with a single protection switched off, which must not notice. Some end the
// context, so on a GPU each runs in a process of its own.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "allocators/guard.hpp"

namespace drought {

struct GuardCase {
  std::string_view name;
  /// Does the stray access on a fresh device and answers what came of it.
  std::string (*run)(Device& device, Guard& guard);
  std::string_view answer;  ///< Part of what a sound guard shows.
  Guard::Options sound, broken;
};

std::span<const GuardCase> guard_cases();

/// Writes a block's first and last byte and frees it twice: "damaged 0, refused 1" from a sound guard.
std::string write_inside_and_free_twice(Device& device, Guard& guard);

}  // namespace drought
