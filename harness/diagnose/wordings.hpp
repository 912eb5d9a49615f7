// What the frameworks write when memory runs out: one line a wording, with the releases that write it.
// A new wording is a line in wordings.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace drought {

struct Wording {
  enum class Effect : std::uint8_t {
    begins,    ///< A refusal is told, and what was told of the one before no longer counts.
    adds,      ///< More about the refusal, or about what went before it.
    grows,     ///< growth_step is told: the same step again, or the first of a new series.
    harmless,  ///< Reads like a refusal and is none: the line is done with.
  };
  std::string_view software;  ///< And the releases, where the words changed.
  std::string_view text;      ///< See phrase.hpp.
  Effect effect = Effect::adds;
};

/// In the order in which a line is held against them; those that begin a refusal come first.
std::span<const Wording> wordings();

}  // namespace drought
