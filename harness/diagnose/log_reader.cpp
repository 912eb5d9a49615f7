#include "harness/diagnose/log_reader.hpp"

#include <algorithm>
#include <istream>

#include "harness/diagnose/wordings.hpp"

namespace drought {
namespace {

constexpr std::size_t kLineMax = 64 << 10;
constexpr std::string_view kOwnPrefix = "figure.";

struct Compiled {
  Phrase phrase;
  Wording::Effect effect;
};

const std::vector<Compiled>& compiled() {
  static const std::vector<Compiled> all = [] {
    std::vector<Compiled> made;
    for (const Wording& wording : wordings()) made.push_back({Phrase(wording.text), wording.effect});
    return made;
  }();
  return all;
}

bool has_digit_or_word(std::string_view text) {
  return text.size() >= 6 && text.find_first_of("0123456789:!_") != std::string_view::npos;
}

/// Where a quoted "figure.live=17" of a report in JSON begins.
std::size_t own_figure_at(std::string_view text) {
  const std::size_t at = text.find(kOwnPrefix);
  if (at == 0 || (at != std::string_view::npos && text[at - 1] == '"')) return at;
  return std::string_view::npos;
}

}  // namespace

void LogReader::take(const std::vector<Capture>& captures) {
  for (Capture capture : captures) {
    MaybeFigure& into = figures_.*capture.member;
    capture.figure.line = lines_;
    if (into && capture.how == Capture::How::add) {
      into->value = std::min(into->value + capture.figure.value, std::int64_t{1} << 60);
      into->rounding += capture.figure.rounding;
    } else if (!into || capture.how != Capture::How::most || into->value < capture.figure.value) {
      into = capture.figure;
    }
    if (capture.member == &Figures::residual && !figures_.residual_first) figures_.residual_first = into;
  }
}

void LogReader::begin_refusal(const std::vector<Capture>& captures) {
  const Figure before = figures_.requested.value_or(Figure{});
  figures_.forget_refusal();
  take(captures);
  figures_.refused = Figure{.value = 1, .line = lines_, .unit = "times"};
  const MaybeFigure& now = figures_.requested;
  const bool same = now && before.line != 0 && now->value == before.value && now->unit == before.unit;
  count(figures_.refusals, same);
}

void LogReader::take_growth(const std::vector<Capture>& captures) {
  const MaybeFigure before = figures_.growth_step;
  take(captures);
  count(figures_.growth_steps, before && before->value == figures_.growth_step->value);
}

/// One more of the same, or the first of something else.
void LogReader::count(MaybeFigure& figure, bool same) {
  figure = Figure{.value = same && figure ? figure->value + 1 : 1, .line = lines_, .unit = "times"};
}

/// A run's own record tells figures by their names, each word for word.
bool LogReader::own_figure(std::string_view text) {
  const std::size_t at = own_figure_at(text);
  if (at == std::string_view::npos) return false;
  text.remove_prefix(at + kOwnPrefix.size());
  const std::size_t equals = text.find('=');
  const Figures::Member member = Figures::named(text.substr(0, equals));
  if (!member || equals == std::string_view::npos) return false;
  std::size_t length = 0;
  Figure figure = read_quantity(text.substr(equals + 1), "B", length);
  if (length == 0) return false;
  figure.line = lines_;
  if (member == &Figures::requested) figures_.forget_refusal();
  figures_.*member = figure;
  ++understood_;
  return true;
}

void LogReader::line(std::string_view text) {
  ++lines_;
  text = text.substr(0, kLineMax);
  if (!has_digit_or_word(text) || own_figure(text)) return;
  if (text.starts_with("Traceback (most recent call last)")) figures_.teardown.reset();
  std::vector<Capture> captures;
  bool understood = false, begun = false;
  for (const Compiled& wording : compiled()) {
    const bool begins = wording.effect == Wording::Effect::begins;
    if (begins && begun) continue;
    std::size_t end = wording.phrase.match(text, 0, captures);
    if (end == Phrase::npos) continue;
    if (wording.effect == Wording::Effect::harmless) return;
    understood = true;
    if (begins) {
      begin_refusal(captures);
      begun = true;
    } else if (wording.effect == Wording::Effect::grows) {
      take_growth(captures);
    } else {
      // One line may name several processes.
      for (; end != Phrase::npos; end = wording.phrase.match(text, end, captures)) take(captures);
    }
  }
  understood_ += understood;
}

void LogReader::read(std::istream& in) {
  std::string text;
  std::vector<char> block(1 << 16);
  bool cut = false;
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
    std::string_view rest(block.data(), static_cast<std::size_t>(in.gcount()));
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      if (text.size() + end > kLineMax) cut = true;
      text.append(rest.substr(0, std::min(end, kLineMax - text.size())));
      if (end == rest.size()) break;
      if (text.ends_with('\r')) text.pop_back();
      line(text);
      text.clear();
      rest.remove_prefix(end + 1);
    }
  }
  if (!text.empty() || cut) line(text);
}

}  // namespace drought
