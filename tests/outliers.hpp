// Inputs with outliers, as activations have them (FlashAttention-3 is tested with as many).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "harness/simt/number.hpp"
#include "kernels/shape.hpp"

namespace drought {

/// Makes about a thousandth of the elements ten times as large.
inline void add_outliers(std::string_view type, std::span<std::byte> part, std::uint64_t seed) {
  const auto each = [&](auto element) {
    using T = decltype(element);
    const std::size_t count = part.size() / sizeof(T);
    const auto places = permutation(1024, seed);
    for (std::size_t i = static_cast<std::size_t>(places[0]); i < count;
         i += 512 + static_cast<std::size_t>(places[i % 1024])) {
      std::memcpy(&element, &part[i * sizeof(T)], sizeof(T));
      element = from_float<T>(10 * to_float(element));
      std::memcpy(&part[i * sizeof(T)], &element, sizeof(T));
    }
  };
  if (type == "bf16") return each(bf16{});
  if (type == "fp16") return each(fp16{});
  each(float{});
}

}  // namespace drought
