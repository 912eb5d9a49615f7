// A wording of a log line, as a template: literal text with slots for figures. One space matches any
// number of them; "^" at the start means the line's. Slots:
//
//   {requested}          a number with or without a unit: 1.63 GiB, 120.12MiB, 292926534144, 150,745
//   {free:GiB}           the unit where the text has none
//   {requested:blocks}   a count of something
//   {idle+} {hole^}      added to what was told before; the larger of the two
//   {refused!}           takes no text: the fact that this was said
//   {*}                  any text, as little as will do, within the line
//
// No regular expression: those of the standard library recurse once a character, which a hostile log
// turns into a crash.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/diagnose/figures.hpp"

namespace drought {

/// What a slot took.
struct Capture {
  enum class How : std::uint8_t { set, add, most };
  Figures::Member member = nullptr;
  How how = How::set;
  Figure figure;
};

class Phrase {
 public:
  /// Throws std::invalid_argument for a template that is none.
  explicit Phrase(std::string_view text);

  static constexpr std::size_t npos = std::string_view::npos;
  /// Where this wording ends in `line`, searched from `from` on; npos: it is not there. `captures` then
  /// holds what the slots took. O(line * slots).
  std::size_t match(std::string_view line, std::size_t from, std::vector<Capture>& captures) const;

 private:
  struct Piece {
    enum class Kind : std::uint8_t { literal, slot, flag, gap };
    Kind kind{};
    std::string text{};        ///< Of a literal.
    Figures::Member member{};  ///< Of a slot or flag.
    Capture::How how{};
    std::string_view unit{};  ///< Where the text has none.
  };

  static Piece slot_of(std::string_view inside);
  std::size_t match_at(std::string_view line, std::size_t at, std::vector<Capture>& captures) const;

  bool at_start_ = false;
  std::vector<Piece> pieces_;  ///< The first is a literal.
};

/// Reads a number with its unit at the start of `text`. `length` is what it took; 0: there is none, or it
/// is beyond 2^60.
Figure read_quantity(std::string_view text, std::string_view unit_if_none, std::size_t& length);

}  // namespace drought
