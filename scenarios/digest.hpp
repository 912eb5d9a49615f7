// A digest of what a run computed, for "the same bits".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace drought {

inline constexpr std::uint64_t kDigestStart = 0xcbf29ce484222325u;

/// FNV-1a (Fowler, Noll, Vo), 64 bit, going on from `hash`.
inline std::uint64_t digest_of(std::span<const std::byte> bytes, std::uint64_t hash = kDigestStart) {
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001b3u;
  return hash;
}

}  // namespace drought
