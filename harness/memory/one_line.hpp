// Messages quote what a user or a foreign file wrote, and are read on a terminal, in logs of a line each and
// between processes that speak in lines.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace drought {

/// The text with control characters as escapes (\n, \x1b), the rest as it is.
inline std::string one_line(std::string_view text) {
  constexpr std::string_view kNamed = "\n\r\t", kNames = "nrt";
  std::string line;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte >= ' ' && byte != 127) {
      line += letter;
    } else if (const auto named = kNamed.find(letter); named != kNamed.npos) {
      line += {'\\', kNames[named]};
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", byte);
      line += escape;
    }
  }
  return line;
}

}  // namespace drought
