#include "harness/report/junit.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>

#include "harness/scenario/table.hpp"

namespace drought {
namespace {

/// How many bytes a character of UTF-8 (RFC 3629) takes that begins at `text`, and which one it is; 0 where
/// none does.
std::size_t read_character(std::string_view text, std::uint32_t& out) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80   ? 1
                             : byte(0) < 0xC0 ? 0
                             : byte(0) < 0xE0 ? 2
                             : byte(0) < 0xF0 ? 3
                                              : 4;
  if (length == 0 || length > text.size() || byte(0) > 0xF4) return 0;
  out = length == 1 ? byte(0) : byte(0) & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    out = out << 6 | (byte(i) & 0x3F);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  return out >= kLeast[length] ? length : 0;
}

/// Production 2 of XML 1.0.
bool is_xml_character(std::uint32_t c) {
  return c == 0x9 || c == 0xA || c == 0xD || (c >= 0x20 && c <= 0xD7FF) || (c >= 0xE000 && c <= 0xFFFD) ||
         (c >= 0x10000 && c <= 0x10FFFF);
}

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::uint32_t character = 0;
    const std::size_t length = read_character(text, character);
    if (length == 0 || !is_xml_character(character)) {
      out += "\xEF\xBF\xBD";
    } else if (std::string_view("<>&\"\t\n\r").find(text[0]) != std::string_view::npos) {
      out += "&#" + std::to_string(character) + ";";  // By number, so that an attribute keeps its line ends.
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string attribute(std::string_view name, std::string_view value) {
  return " " + std::string(name) + "=\"" + escaped(value) + "\"";
}

std::string seconds(double wall_ms) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", wall_ms / 1000);
  return text;
}

std::string element(const JUnitCase& one) {
  std::string out = "  <testcase" + attribute("name", one.name) + attribute("classname", one.group) +
                    attribute("time", seconds(one.wall_ms));
  switch (one.end) {
    case JUnitCase::End::passed:
      return out + "/>\n";
    case JUnitCase::End::skipped:
      return out + ">\n    <skipped" + attribute("message", one.message) + "/>\n  </testcase>\n";
    case JUnitCase::End::failed:
      break;
  }
  return out + ">\n    <failure" + attribute("type", one.kind) + attribute("message", one.message) + ">" +
         escaped(one.message + "\nrepeat: " + one.repeat) + "</failure>\n  </testcase>\n";
}

JUnitCase case_of(const std::string& scenario, double wall_ms) {
  JUnitCase one;
  one.name = scenario;
  one.group = scenario.substr(0, std::min(scenario.rfind('/'), scenario.size()));
  one.wall_ms = wall_ms;
  return one;
}

}  // namespace

std::vector<JUnitCase> junit_cases(const std::vector<RunResult>& results) {
  std::vector<JUnitCase> cases;
  for (const RunResult& result : results) {
    JUnitCase one = case_of(result.scenario, result.wall_ms);
    if (result.verdict == Verdict::skipped) one.end = JUnitCase::End::skipped;
    if (!is_good(result.verdict)) one.end = JUnitCase::End::failed;
    one.kind = name(result.verdict);
    one.message = result.why;
    one.repeat = result.repeat;
    cases.push_back(std::move(one));
  }
  return cases;
}

std::vector<JUnitCase> junit_cases(const std::vector<SweepResult>& results) {
  std::vector<JUnitCase> cases;
  for (const SweepResult& result : results) {
    JUnitCase one = case_of(result.scenario, result.wall_ms);
    if (result.skipped) one.end = JUnitCase::End::skipped;
    if (!result.good()) one.end = JUnitCase::End::failed;
    one.kind = name(Verdict::failed);
    one.message = result.why;
    if (!result.failures.empty()) {
      one.kind = name(result.failures.front().verdict);
      one.message = result.failures.front().message;
      if (const std::size_t more = result.failures.size() - 1)
        one.message += " (and " + std::to_string(more) + " more failures)";
      one.repeat = result.failures.front().repeat;
    }
    cases.push_back(std::move(one));
  }
  return cases;
}

std::string junit_text(const std::string& suite, std::span<const JUnitCase> cases) {
  const auto count = [&](JUnitCase::End end) {
    return std::to_string(
        std::count_if(cases.begin(), cases.end(), [end](const JUnitCase& one) { return one.end == end; }));
  };
  double wall_ms = 0;
  for (const JUnitCase& one : cases) wall_ms += one.wall_ms;
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite" + attribute("name", suite) +
                    attribute("tests", std::to_string(cases.size())) +
                    attribute("failures", count(JUnitCase::End::failed)) + attribute("errors", "0") +
                    attribute("skipped", count(JUnitCase::End::skipped)) +
                    attribute("time", seconds(wall_ms)) + ">\n";
  for (const JUnitCase& one : cases) out += element(one);
  return out + "</testsuite>\n";
}

void write_junit(const std::string& path, const std::string& suite, std::span<const JUnitCase> cases) {
  std::ofstream out(path, std::ios::binary);
  out << junit_text(suite, cases);
  if (!out.flush()) throw UserError(path + ": cannot be written");
}

}  // namespace drought
