#include "harness/memory/resource.hpp"

#include <cstdio>

#include "harness/memory/bytes.hpp"

namespace drought {

OutOfMemory::OutOfMemory(const Request& request, std::string_view reason) : request_(request) {
  text_ = "out of memory: " + format_bytes(request.bytes) + " (" + std::to_string(request.bytes) + " B)";
  if (!request.tag.view().empty()) text_ += " for '" + std::string(request.tag.view()) + "'";
  text_ += ", asked at " + request.from.text();
  if (!reason.empty()) text_ += ": " + std::string(reason);
}

std::string format_bytes(std::size_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1_KiB) return std::to_string(bytes) + " B";
  double scaled = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; scaled >= 1024 && unit + 1 < std::size(kUnits); ++unit) scaled /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.2f %s", scaled, kUnits[unit]);
  return text;
}

}  // namespace drought
