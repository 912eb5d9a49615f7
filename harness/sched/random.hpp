// The one source of chance: SplitMix64 (Steele, Lea, Flood 2014). Small, fast, the same everywhere,
// and splittable, so that a part of a run can draw without moving the draws of another.
#pragma once

#include <cstdint>
#include <limits>

namespace drought {

class Random {
 public:
  using result_type = std::uint64_t;
  explicit constexpr Random(std::uint64_t seed) : state_(seed) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<std::uint64_t>::max(); }

  constexpr std::uint64_t operator()() {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
  }
  /// Uniform in [0, bound); bound is not zero. Off uniform by at most bound / 2^64.
  constexpr std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>((*this)()) * bound) >> 64);
  }
  /// Uniform in [0, 1).
  constexpr double unit() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }
  /// An independent stream for the part of a run called by this number.
  constexpr Random split(std::uint64_t part) const {
    return Random(Random(state_ ^ (part * 0xD1342543DE82EF95u))());
  }

 private:
  std::uint64_t state_;
};

}  // namespace drought
