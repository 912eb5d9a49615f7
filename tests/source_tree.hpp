// The repository's own sources as data, for tests that judge them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/source_root.hpp"

namespace drought {

struct Source {
  std::string path;  ///< From the root of the sources.
  std::vector<std::string> lines;

  bool is_cpp() const {
    return path.ends_with(".cpp") || path.ends_with(".hpp") || path.ends_with(".cu") ||
           path.ends_with(".cuh");
  }
  std::string at(std::size_t line) const { return path + ":" + std::to_string(line + 1); }
};

inline std::vector<std::string> lines_of(std::istream& in) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// A source that breaks a rule, for showing that the rule is asked.
inline Source made_up(std::string path, const std::string& text) {
  std::istringstream in(text);
  return {std::move(path), lines_of(in)};
}

inline const std::vector<Source>& sources() {
  static const std::vector<Source> all = [] {
    std::vector<Source> found;
    const std::string root = source_path("");
    for (const char* folder : {"harness", "allocators", "kernels", "faults", "scenarios", "tests", "ci"}) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(root + folder)) {
        if (!entry.is_regular_file() || entry.path().string().find("/golden/") != std::string::npos) continue;
        std::ifstream in(entry.path(), std::ios::binary);
        found.push_back({entry.path().lexically_relative(root).string(), lines_of(in)});
      }
    }
    std::sort(found.begin(), found.end(), [](const Source& a, const Source& b) { return a.path < b.path; });
    return found;
  }();
  return all;
}

/// The first folder of a path; what stands on all the others under harness/ counts as one of its own.
inline std::string layer_of(const std::string& path) {
  if (path.starts_with("harness/cli/")) return "cli";
  if (path.starts_with("harness/gtest/")) return "gtest";
  return path.substr(0, path.find('/'));
}

/// The files that a source includes with quotes.
inline std::vector<std::pair<std::size_t, std::string>> includes_of(const Source& source) {
  std::vector<std::pair<std::size_t, std::string>> found;
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    const std::string& line = source.lines[i];
    if (!line.starts_with("#include \"")) continue;
    found.emplace_back(i, line.substr(10, line.find('"', 10) - 10));
  }
  return found;
}

/// The line without what stands in quotes or comments; what a ban is about is code.
inline std::string code_of(const std::string& line) {
  static const std::regex kQuoted(R"re("(\\.|[^"\\])*"|'(\\.|[^'\\])'|//.*$)re");
  return std::regex_replace(line, kQuoted, "\"\"");
}

/// Characters, where every byte that begins one counts.
inline std::size_t width(const std::string& line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
}

}  // namespace drought
