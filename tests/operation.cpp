#include "tests/operation.hpp"

#include <ostream>
#include <string_view>

namespace drought {
namespace {

constexpr std::string_view kKinds[] = {"allocate", "free", "bounce",  "use",  "work",      "settle",
                                       "arm",      "heal", "squeeze", "trim", "wrong_free"};
// Of 1024. A heal ends what an arm or a squeeze began, and leaves a good part of the run in want.
constexpr std::uint32_t kWeights[] = {416, 346, 60, 60, 40, 8, 22, 16, 16, 8, 32};

}  // namespace

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
  return out << kKinds[static_cast<std::size_t>(operation.kind)] << " " << operation.which << " "
             << operation.size;
}

Operation draw_operation(Random& random) {
  const std::uint64_t drawn = random();
  auto weight = static_cast<std::uint32_t>(drawn & 1023);
  std::size_t kind = 0;
  while (weight >= kWeights[kind]) weight -= kWeights[kind++];
  const std::uint64_t fields = random();
  return {static_cast<Operation::Kind>(kind), static_cast<std::uint32_t>(fields >> 32),
          static_cast<std::uint32_t>(fields)};
}

}  // namespace drought
