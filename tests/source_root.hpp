// Where the repository is: where it was built or, for a binary that was carried to another machine, the
// folder that the tests are run from.
#pragma once

#include <filesystem>
#include <string>

namespace drought {

inline std::string source_path(const std::string& relative) {
  const bool is_here = std::filesystem::exists(DROUGHT_SOURCE "/scenarios");
  return (is_here ? std::string(DROUGHT_SOURCE) : std::filesystem::current_path().string()) + "/" + relative;
}

}  // namespace drought
