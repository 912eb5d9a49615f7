#include "tests/source_root.hpp"

#include <filesystem>

namespace drought {

std::string source_path(const std::string& relative) {
  const bool is_here = std::filesystem::exists(DROUGHT_SOURCE "/scenarios");
  return (is_here ? std::string(DROUGHT_SOURCE) : std::filesystem::current_path().string()) + "/" + relative;
}

std::string shared_path(const std::string& relative) { return DROUGHT_SHARED "/" + relative; }

std::string drought_binary() { return DROUGHT_BINARY; }

std::string cmake_command() { return DROUGHT_CMAKE; }

std::string cmake_generator() { return DROUGHT_GENERATOR; }

}  // namespace drought
