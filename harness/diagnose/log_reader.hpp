// Turns a log of any length into Figures: line by line, holding no more of it than one line, and of a line
// without end no more than a window. The last refusal of the log counts, with what was told before it.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "harness/diagnose/figures.hpp"
#include "harness/diagnose/phrase.hpp"

namespace drought {

class LogReader {
 public:
  /// The next line, without its end. Text after the first 64 KiB is not looked at.
  void line(std::string_view text);
  /// Every line of `in`.
  void read(std::istream& in);

  const Figures& figures() const { return figures_; }
  std::size_t lines() const { return lines_; }
  /// Lines that had a known wording.
  std::size_t understood() const { return understood_; }

 private:
  void take(const std::vector<Capture>& captures);
  void begin_refusal(const std::vector<Capture>& captures);
  void take_growth(const std::vector<Capture>& captures);
  void count(MaybeFigure& figure, bool same);
  bool own_figure(std::string_view text);

  Figures figures_;
  std::size_t lines_ = 0, understood_ = 0;
};

}  // namespace drought
