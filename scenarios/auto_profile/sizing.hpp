// The arithmetic of auto-profile: how many tokens the probe holds, how many the KV cache may hold after
// what was measured, and what a retry tries. It stands alone because each of its steps has been wrong in
// production: a product that wrapped, a clamp that nobody heard of, a negative budget that became one
// token (LightLLM PR 1273 and the commits before it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace drought {

/// What one rank knows when the probe has run.
struct Measured {
  std::size_t total_bytes = 0;  ///< Of the device.
  std::size_t free_bytes = 0;   ///< That the driver has left, while `own_bytes` are reserved.
  std::size_t own_bytes = 0;    ///< Reserved by this process now.
  std::size_t peak_bytes = 0;   ///< Most reserved by this process since the probe began.
  std::uint64_t probe_tokens = 0;
  std::size_t cell_bytes = 0;    ///< One token's keys and values, all layers of this rank.
  std::size_t canary_bytes = 0;  ///< Held back beside the KV cache.
};

/// What becomes of it. A clamp means that a figure was not what it is called; each is told apart.
struct Sizing {
  std::size_t non_kv_bytes = 0;  ///< Peak less the probe's KV cache.
  std::size_t peer_bytes = 0;    ///< Everybody else's, this process's context included.
  bool non_kv_clamped = false;   ///< The peak was below the probe's KV cache.
  bool peers_clamped = false;    ///< Free and own memory were more than there is.
  std::size_t short_bytes = 0;   ///< By so much the device is too small even without a KV cache.
  std::uint64_t tokens = 0;      ///< 0 when not one fits: a failure, never a size.

  bool fits() const { return tokens != 0; }
};

/// max(batch_max_tokens + graph_max_batch_size, 8192): room for one full prefill and a decode batch, and
/// far below a production cache. Throws std::invalid_argument when the sum wraps.
std::uint64_t probe_size(std::uint64_t batch_max_tokens, std::uint64_t graph_max_batch_size);

/// The target. `mem_fraction` is in (0, 1]; throws std::invalid_argument for another, for a cell of 0
/// bytes and for a probe that no machine can hold.
Sizing size_after(const Measured& measured, double mem_fraction);

/// What the next attempt tries: 95 %, rounded down, in integers.
std::uint64_t shrunk(std::uint64_t tokens);

}  // namespace drought
