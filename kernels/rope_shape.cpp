// What can be asked of a rotation: its numbers, its scaling, and which pair turns by which position.
#include <algorithm>
#include <numeric>

#include "kernels/rope.hpp"
#include "kernels/shape.hpp"

namespace drought {
namespace {

constexpr std::size_t kAxesMax = 8;

/// Of pairs dealt out to three axes in turn, as long as height and width have any left.
std::int32_t axis_in_turn(std::size_t pair, const std::vector<std::size_t>& sections) {
  const std::size_t axis = pair % 3;
  return axis != 0 && pair / 3 < sections[axis] ? static_cast<std::int32_t>(axis) : 0;
}

void require_scaling(const Rope::Shape& s) {
  require(s.scaling == "none" || s.scaling == "linear" || s.scaling == "llama3",
          "unknown scaling '" + s.scaling + "'; known: none, linear, llama3");
  require(s.factor >= 1 && s.factor <= 1e6, "factor must be between 1 and a million");
  require(s.scaling != "none" || s.factor == 1, "factor is for a scaling only");
  require(s.low_factor > 0 && s.high_factor > s.low_factor && s.high_factor <= 1e6,
          "low_factor must be above 0 and below high_factor");
  require(s.trained_tokens > 0 && s.trained_tokens <= tokens_max,
          "trained_tokens must be between 1 and 2^30");
}

void require_numbers(const Rope::Shape& s) {
  require(s.tokens > 0 && s.tokens <= tokens_max, "tokens must be between 1 and 2^30");
  require(s.heads > 0 && s.heads <= grid_rows_max, "heads must be between 1 and 65535");
  require(s.head_dim > 0 && s.head_dim % 8 == 0 && s.head_dim <= 512,
          "head_dim must be a multiple of 8 up to 512");
  require(2 * s.pairs() <= s.head_dim && s.rotary_dim % 8 == 0,
          "rotary_dim must be a multiple of 8 and no more than head_dim");
  require(s.base > 1, "base must be above 1");
}

/// How many pairs turn by each axis.
std::vector<std::size_t> sections_of(const Rope::Shape& s) {
  const std::string& kind = s.positions;
  const bool has_sections = kind == "m-rope" || kind == "interleaved-m-rope";
  require(kind == "text" || kind == "vision" || has_sections,
          "unknown positions '" + kind + "'; known: text, m-rope, interleaved-m-rope, vision");
  require(s.sections.empty() || has_sections, "sections are for m-rope only");
  std::vector<std::size_t> sections = s.sections;
  if (kind == "text") sections = {s.pairs()};
  if (kind == "vision") {
    require(s.pairs() % 2 == 0, "vision positions share the pairs evenly");
    sections = {s.pairs() / 2, s.pairs() / 2};
  }
  const bool fits = std::ranges::all_of(sections, [&](std::size_t section) { return section <= s.pairs(); });
  require(fits && sections.size() <= kAxesMax && std::reduce(sections.begin(), sections.end()) == s.pairs(),
          "sections must add up to the " + std::to_string(s.pairs()) + " pairs of rotary_dim");
  return sections;
}

}  // namespace

std::vector<std::int32_t> Rope::axes_of(const Shape& shape) {
  require_numbers(shape);
  require_scaling(shape);
  const std::vector<std::size_t> sections = sections_of(shape);
  std::vector<std::int32_t> axis_of_pair;
  if (shape.positions != "interleaved-m-rope") {
    for (std::size_t axis = 0; axis < sections.size(); ++axis)
      axis_of_pair.insert(axis_of_pair.end(), sections[axis], static_cast<std::int32_t>(axis));
    return axis_of_pair;
  }
  require(sections.size() == 3, "interleaved-m-rope has three sections");
  for (std::size_t pair = 0; pair < shape.pairs(); ++pair)
    axis_of_pair.push_back(axis_in_turn(pair, sections));
  for (std::int32_t axis = 0; axis < 3; ++axis)
    require(std::ranges::count(axis_of_pair, axis) ==
                static_cast<std::ptrdiff_t>(sections[static_cast<std::size_t>(axis)]),
            "sections of height and width are too large to be dealt out in turn");
  return axis_of_pair;
}

}  // namespace drought
