#include "scenarios/span_cover/span_log.hpp"

#include <cstdio>
#include <stdexcept>

#include "harness/memory/bytes.hpp"

namespace drought {

SpanLog parse_span_log(std::string_view line) {
  const std::string text(line.substr(std::min(line.size(), line.find("span cover "))));
  SpanLog log;
  int end = 0;
  const int found =
      std::sscanf(text.c_str(), "span cover %lf GiB of %lf GiB model (%u spans, offset %lf GiB)%n",
                  &log.cover_gib, &log.model_gib, &log.spans, &log.offset_gib, &end);
  if (found != 4 || end == 0) throw std::invalid_argument("no span cover in '" + std::string(line) + "'");
  return log;
}

std::string span_log_text(std::uint64_t cover_bytes, std::uint64_t model_bytes, std::size_t spans,
                          std::uint64_t offset_bytes) {
  const auto gib = [](std::uint64_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(1_GiB);
  };
  char text[160];
  std::snprintf(text, sizeof text, "span cover %.2f GiB of %.2f GiB model (%zu spans, offset %.2f GiB)",
                gib(cover_bytes), gib(model_bytes), spans, gib(offset_bytes));
  return text;
}

std::string contradiction(const SpanLog& log) {
  constexpr double half = 0.005;  // A figure printed to two decimals is off by at most this.
  const auto figure = [](double gib) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f GiB", gib);
    return std::string(text);
  };
  const bool all_there = log.cover_gib >= 0 && log.offset_gib >= 0 && log.model_gib > 0;
  if (!all_there) return "a figure is missing or below zero";
  if (log.spans == 0) return "a cover of no spans";
  if (!(log.offset_gib + log.cover_gib <= log.model_gib + 3 * half))
    return "offset " + figure(log.offset_gib) + " and cover " + figure(log.cover_gib) + " end at " +
           figure(log.offset_gib + log.cover_gib) + ", past a model of " + figure(log.model_gib);
  return {};
}

}  // namespace drought
