// What the shapes of kernels are checked and filled with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "harness/simt/number.hpp"

namespace drought {

/// The element types that a kernel is compiled for.
template <typename... Ts>
struct Types {
  /// Bytes of one element. Throws std::invalid_argument for a type that is none of them.
  static std::size_t bytes_of(std::string_view type) {
    return visit(type, [](auto element) { return sizeof element; });
  }

  /// Calls `visit(T{})` for the type that is named. Throws std::invalid_argument when it is none of them.
  template <typename Visit>
  static auto visit(std::string_view type, Visit visit) {
    std::invoke_result_t<Visit, float> result{};
    if (((type == NumberTraits<Ts>::name && (result = visit(Ts{}), true)) || ...)) return result;
    std::string known;
    ((known += (known.empty() ? "" : ", ") + std::string(NumberTraits<Ts>::name)), ...);
    throw std::invalid_argument("unknown type '" + std::string(type) + "'; known: " + known);
  }
};
using FloatTypes = Types<float, bf16, fp16>;

/// Bytes of one element of FloatTypes.
std::size_t element_bytes(std::string_view type);

/// The product; throws std::invalid_argument naming `what` when it does not fit in 63 bits.
std::size_t checked_product(std::string_view what, std::initializer_list<std::size_t> factors);

/// Throws std::invalid_argument(problem) unless `holds`.
void require(bool holds, const std::string& problem);

/// The most tokens that a sequence may have: element counts of 2^31 keys do not fit a kernel's int.
inline constexpr std::size_t tokens_max = std::size_t{1} << 30;

/// The most blocks in y and z of a grid.
inline constexpr std::size_t grid_rows_max = 65535;

/// Checks what all attention shapes share: type, head_dim one of `head_dims`, heads a multiple of kv_heads.
void require_heads(std::string_view type, std::size_t head_dim, std::span<const std::size_t> head_dims,
                   std::size_t heads, std::size_t kv_heads);

/// Checks that `starts` say where between 1 and 65535 sequences begin, from 0 up to a total; the longest one.
std::size_t longest_sequence(const std::string& name, const std::vector<std::size_t>& starts);

/// log2(e) / sqrt(head_dim): turns a product of a query and a key into a base-2 exponent.
float scale_log2_of(std::size_t head_dim);

/// Elements near N(0, 1), between -3.5 and 3.5: four 16-bit integers added, so that every machine makes the
/// same bits. `stream` tells the parts of one kernel apart.
void fill_normal(std::string_view type, std::uint64_t seed, std::uint64_t stream, std::span<std::byte> out);

/// A random permutation of 0 .. n - 1, the same everywhere.
std::vector<std::int32_t> permutation(std::size_t n, std::uint64_t seed);

/// Copies integers into a part. The sizes match.
void fill_integers(std::span<const std::int32_t> from, std::span<std::byte> out);

/// Integers of a part as the host holds it.
std::vector<std::int32_t> integers(std::span<const std::byte> part);

}  // namespace drought
