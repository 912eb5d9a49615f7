// Sizes. Binary units only, because every rule of a CUDA allocator is written in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace drought {

inline namespace literals {
constexpr std::size_t operator""_B(unsigned long long n) { return static_cast<std::size_t>(n); }
constexpr std::size_t operator""_KiB(unsigned long long n) { return static_cast<std::size_t>(n) << 10; }
constexpr std::size_t operator""_MiB(unsigned long long n) { return static_cast<std::size_t>(n) << 20; }
constexpr std::size_t operator""_GiB(unsigned long long n) { return static_cast<std::size_t>(n) << 30; }
constexpr std::size_t operator""_TiB(unsigned long long n) { return static_cast<std::size_t>(n) << 40; }
}  // namespace literals

/// Rounds up to a multiple of `step` (not zero). The caller keeps n + step - 1 below 2^64.
constexpr std::size_t round_up(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

constexpr std::size_t round_down(std::size_t n, std::size_t step) { return n / step * step; }

/// "78.21 GiB", "512 B": two decimals in the largest unit that leaves at least 1.
std::string format_bytes(std::size_t bytes);

}  // namespace drought
