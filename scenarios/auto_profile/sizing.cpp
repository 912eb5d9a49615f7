#include "scenarios/auto_profile/sizing.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

constexpr std::uint64_t kProbeTokensMin = 8192;

/// a - b, or 0 with `clamped` set.
std::size_t less_or_zero(std::size_t a, std::size_t b, bool& clamped) {
  clamped = clamped || b > a;
  return b > a ? 0 : a - b;
}

}  // namespace

std::uint64_t probe_size(std::uint64_t batch_max_tokens, std::uint64_t graph_max_batch_size) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(batch_max_tokens, graph_max_batch_size, &sum))
    throw std::invalid_argument("batch_max_tokens and graph_max_batch_size add up to more than 2^64");
  return std::max(sum, kProbeTokensMin);
}

Sizing size_after(const Measured& measured, double mem_fraction) {
  if (!(mem_fraction > 0 && mem_fraction <= 1))
    throw std::invalid_argument("mem_fraction must be above 0 and at most 1");
  if (measured.cell_bytes == 0) throw std::invalid_argument("a token of 0 bytes");
  std::size_t probe_bytes = 0;
  if (__builtin_mul_overflow(measured.probe_tokens, measured.cell_bytes, &probe_bytes))
    throw std::invalid_argument("a probe of more than 2^64 bytes");
  Sizing sizing;
  sizing.non_kv_bytes = less_or_zero(measured.peak_bytes, probe_bytes, sizing.non_kv_clamped);
  sizing.peer_bytes =
      less_or_zero(less_or_zero(measured.total_bytes, measured.free_bytes, sizing.peers_clamped),
                   measured.own_bytes, sizing.peers_clamped);
  std::size_t budget = measured.total_bytes;
  for (const std::size_t claim : {sizing.non_kv_bytes, measured.canary_bytes, sizing.peer_bytes}) {
    const std::size_t granted = std::min(claim, budget);
    budget -= granted;
    std::size_t missing = 0;
    if (__builtin_add_overflow(sizing.short_bytes, claim - granted, &missing)) missing = SIZE_MAX;
    sizing.short_bytes = missing;
  }
  // A double holds every size below 2^53 bytes exactly; min() bounds what rounding could add above that.
  const double usable = static_cast<double>(budget) * mem_fraction;
  const std::size_t usable_bytes =
      usable >= 0x1p63 ? budget : std::min(static_cast<std::size_t>(usable), budget);
  sizing.tokens = usable_bytes / measured.cell_bytes;
  return sizing;
}

std::uint64_t shrunk(std::uint64_t tokens) { return tokens / 100 * 95 + tokens % 100 * 95 / 100; }

}  // namespace drought
