// What the machine over an allocator does next, in numbers that shrink towards nothing.
#pragma once

#include <cstdint>
#include <iosfwd>

#include "harness/sched/random.hpp"

namespace drought {

/// One drawn step; every value of the fields means something, and smaller ones mean less.
struct Operation {
  enum class Kind : std::uint8_t {
    allocate,
    free,
    bounce,
    use,
    work,
    settle,
    arm,
    heal,
    squeeze,
    trim,
    wrong_free,
  };
  Kind kind{};
  std::uint32_t which = 0;  ///< A block, stream or site, modulo their number.
  std::uint32_t size = 0;   ///< Bits 0-4: the size's exponent; the rest: where between two powers.
};
inline constexpr int operation_kinds = static_cast<int>(Operation::Kind::wrong_free) + 1;
std::ostream& operator<<(std::ostream& out, const Operation& operation);
/// As often as a server's life has them: mostly blocks that come and go.
Operation draw_operation(Random& random);

}  // namespace drought
