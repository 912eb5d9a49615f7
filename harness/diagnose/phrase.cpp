#include "harness/diagnose/phrase.hpp"

#include <array>
#include <cctype>
#include <cmath>
#include <stdexcept>

namespace drought {
namespace {

constexpr std::size_t kGapMax = 400;  // No wording has more between two of its words.
constexpr double kValueMax = static_cast<double>(std::int64_t{1} << 60);

struct Unit {
  std::string_view word;
  double bytes;
};
// The longest first. A decimal unit is taken at its word.
constexpr std::array kUnits{Unit{"bytes", 1},
                            Unit{"TiB", 1099511627776.},
                            Unit{"GiB", 1073741824.},
                            Unit{"MiB", 1048576.},
                            Unit{"KiB", 1024.},
                            Unit{"GB", 1e9},
                            Unit{"MB", 1e6},
                            Unit{"KB", 1e3},
                            Unit{"B", 1}};
constexpr std::array<std::string_view, 4> kCounted{"blocks", "tokens", "slots", "times"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

const Unit* unit_at(std::string_view text) {
  for (const Unit& unit : kUnits)
    if (text.starts_with(unit.word) &&
        (text.size() == unit.word.size() || !is_letter(text[unit.word.size()])))
      return &unit;
  return nullptr;
}

/// `text` with its thousands' commas left out: "150,745" and "1.63" alike. What was taken is `length`.
std::string digits_at(std::string_view text, std::size_t& length, int& decimals) {
  std::string digits;
  decimals = -1;
  for (length = 0; length < text.size() && digits.size() < 40; ++length) {
    const char c = text[length];
    const auto digit_after = [&](std::size_t n) {
      return length + n < text.size() && is_digit(text[length + n]);
    };
    if (is_digit(c)) {
      decimals += decimals >= 0;
    } else if (c == '.' && decimals < 0 && !digits.empty() && digit_after(1)) {
      decimals = 0;
    } else if (c == ',' && decimals < 0 && !digits.empty() && digit_after(1) && digit_after(2) &&
               digit_after(3) && !digit_after(4)) {
      continue;
    } else {
      break;
    }
    digits += c;
  }
  decimals = decimals < 0 ? 0 : decimals;
  return digits;
}

}  // namespace

Figure read_quantity(std::string_view text, std::string_view unit_if_none, std::size_t& length) {
  int decimals = 0;
  const std::string digits = digits_at(text, length, decimals);
  Figure figure;
  if (digits.empty()) {
    length = 0;
    return figure;
  }
  for (const std::string_view counted : kCounted)
    if (unit_if_none == counted) {
      figure.unit = counted;
      unit_if_none = "B";
    }
  const Unit* unit = nullptr;
  if (figure.unit == "B") {
    std::size_t after = length;
    while (after < text.size() && is_blank(text[after]) && after < length + 2) ++after;
    unit = unit_at(text.substr(after));
    if (unit) length = after + unit->word.size();
  }
  if (!unit) unit = unit_at(unit_if_none);
  const double scale = unit ? unit->bytes : 1;
  const double value = std::stod(digits) * scale;
  if (!(value < kValueMax)) {
    length = 0;
    return figure;
  }
  const bool is_whole = decimals == 0 && scale == 1;
  figure.value = is_whole ? std::stoll(digits) : std::llround(value);
  if (!is_whole) figure.rounding = std::llround(0.5 * std::pow(10., -decimals) * scale);
  return figure;
}

Phrase::Piece Phrase::slot_of(std::string_view inside) {
  if (inside == "*") return {.kind = Piece::Kind::gap};
  Piece piece{.kind = Piece::Kind::slot, .unit = "B"};
  if (const std::size_t colon = inside.find(':'); colon != std::string_view::npos) {
    piece.unit = inside.substr(colon + 1);
    inside = inside.substr(0, colon);
  }
  if (inside.ends_with('+')) piece.how = Capture::How::add;
  if (inside.ends_with('^')) piece.how = Capture::How::most;
  if (inside.ends_with('!')) piece.kind = Piece::Kind::flag;
  if (piece.how != Capture::How::set || piece.kind == Piece::Kind::flag) inside.remove_suffix(1);
  piece.member = Figures::named(inside);
  if (!piece.member) throw std::invalid_argument("no figure is called '" + std::string(inside) + "'");
  return piece;
}

Phrase::Phrase(std::string_view text) {
  if (text.starts_with('^')) {
    at_start_ = true;
    text.remove_prefix(1);
  }
  while (!text.empty()) {
    const std::size_t open = text.find('{');
    if (open != 0) pieces_.push_back({.text = std::string(text.substr(0, open))});
    if (open == std::string_view::npos) break;
    const std::size_t close = text.find('}', open);
    if (close == std::string_view::npos) throw std::invalid_argument("a slot without an end");
    pieces_.push_back(slot_of(text.substr(open + 1, close - open - 1)));
    text.remove_prefix(close + 1);
  }
  if (pieces_.empty() || pieces_.front().kind != Piece::Kind::literal)
    throw std::invalid_argument("a wording begins with a word");
}

namespace {

/// How much of `text` the literal takes, where one space stands for any number; npos: it is not there.
std::size_t literal_length(std::string_view text, std::string_view literal) {
  std::size_t at = 0;
  for (const char c : literal) {
    if (at >= text.size()) return std::string_view::npos;
    if (c == ' ') {
      if (!is_blank(text[at])) return std::string_view::npos;
      while (at < text.size() && is_blank(text[at])) ++at;
    } else if (text[at++] != c) {
      return std::string_view::npos;
    }
  }
  return at;
}

}  // namespace

std::size_t Phrase::match(std::string_view line, std::size_t from, std::vector<Capture>& captures) const {
  if (at_start_) {
    captures.clear();
    return from == 0 ? match_at(line, 0, captures) : npos;
  }
  // A word without a space in it can be searched for as it stands.
  const std::string& first = pieces_.front().text;
  const std::string_view word = std::string_view(first).substr(0, first.find(' '));
  for (std::size_t at = from; at <= line.size(); ++at) {
    at = line.find(word, at);
    if (at == npos) return npos;
    captures.clear();
    if (const std::size_t end = match_at(line, at, captures); end != npos) return end;
  }
  return npos;
}

std::size_t Phrase::match_at(std::string_view line, std::size_t at, std::vector<Capture>& captures) const {
  bool gap = false;
  for (const Piece& piece : pieces_) {
    std::size_t length = 0;
    switch (piece.kind) {
      case Piece::Kind::gap:
        gap = true;
        continue;
      case Piece::Kind::flag:
        captures.push_back({piece.member, Capture::How::set, Figure{.value = 1, .unit = "times"}});
        continue;
      case Piece::Kind::slot: {
        while (gap && at < line.size() && !is_digit(line[at])) ++at;
        const Figure figure = read_quantity(line.substr(at), piece.unit, length);
        if (length == 0) return npos;
        captures.push_back({piece.member, piece.how, figure});
        break;
      }
      case Piece::Kind::literal:
        length = literal_length(line.substr(at), piece.text);
        for (std::size_t skipped = 0; gap && length == npos; ++skipped) {
          if (skipped == kGapMax || at >= line.size()) return npos;
          length = literal_length(line.substr(++at), piece.text);
        }
        if (length == npos) return npos;
        break;
    }
    gap = false;
    at += length;
  }
  return at;
}

}  // namespace drought
