// Judges the line in which a loader says what part of a model it covers,
// "span cover 78.21 GiB of 150.00 GiB model (48 spans, offset 72.00 GiB)". The three figures hang together:
// a cover that starts at the offset must end inside the model. The line quoted here, from antirez/ds4 pull
// request 316, does not: 72.00 + 78.21 is past 150.00.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace drought {

struct SpanLog {
  double cover_gib = 0, model_gib = 0, offset_gib = 0;
  unsigned spans = 0;
};

/// Throws std::invalid_argument when the line holds no such message.
SpanLog parse_span_log(std::string_view line);

/// The same message from exact bytes, without a prefix.
std::string span_log_text(std::uint64_t cover_bytes, std::uint64_t model_bytes, std::size_t spans,
                          std::uint64_t offset_bytes);

/// What the figures, each rounded to 0.01, cannot mean together; empty when they agree.
std::string contradiction(const SpanLog& log);

}  // namespace drought
