// Where in the source a request was written. Not std::source_location, which clang 14 lacks.
#pragma once

#include <string>

namespace drought {

struct CallSite {
  const char* file = "";
  int line = 0;

  /// As a default argument or default member initialiser this names the place that used the default.
  static constexpr CallSite here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }

  std::string text() const { return std::string(file) + ":" + std::to_string(line); }
};

}  // namespace drought
