#include "kernels/shape.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>

namespace drought {
namespace {

/// splitmix64 (Steele, Lea, Flood 2014), as a function of its place.
std::uint64_t random_at(std::uint64_t seed, std::uint64_t place) {
  std::uint64_t z = seed + (place + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

template <typename T>
void fill_as(std::uint64_t seed, std::span<std::byte> out) {
  for (std::size_t i = 0; i < out.size() / sizeof(T); ++i) {
    const std::uint64_t bits = random_at(seed, i);
    const auto sum = static_cast<std::int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                               (bits >> 32 & 0xffff) + (bits >> 48));
    // The sum's variance is 2^32 / 3; 1.6875 / 2^16 is within 3 % of its inverse square root, and exact.
    const T element = from_float<T>(static_cast<float>(sum - 131070) * (1.6875f / 65536.0f));
    std::memcpy(out.data() + i * sizeof(T), &element, sizeof(T));
  }
}

}  // namespace

std::size_t element_bytes(std::string_view type) { return FloatTypes::bytes_of(type); }

std::size_t checked_product(std::string_view what, std::initializer_list<std::size_t> factors) {
  std::size_t product = 1;
  bool overflows = false;
  for (const std::size_t factor : factors)
    overflows = __builtin_mul_overflow(product, factor, &product) || overflows;
  if (overflows || product > std::size_t{1} << 62)
    throw std::invalid_argument(std::string(what) + " is larger than any memory");
  return product;
}

void require(bool holds, const std::string& problem) {
  if (!holds) throw std::invalid_argument(problem);
}

void require_heads(std::string_view type, std::size_t head_dim, std::span<const std::size_t> head_dims,
                   std::size_t heads, std::size_t kv_heads) {
  static_cast<void>(element_bytes(type));
  std::string known;
  for (const std::size_t dim : head_dims) known += (known.empty() ? "" : ", ") + std::to_string(dim);
  require(std::ranges::find(head_dims, head_dim) != head_dims.end(),
          "head_dim " + std::to_string(head_dim) + " is not one of " + known);
  require(heads > 0 && kv_heads > 0, "heads and kv_heads must not be 0");
  require(heads % kv_heads == 0,
          "heads " + std::to_string(heads) + " is not a multiple of kv_heads " + std::to_string(kv_heads));
  require(heads <= grid_rows_max, "heads " + std::to_string(heads) + " is more than a grid's 65535");
}

std::size_t longest_sequence(const std::string& name, const std::vector<std::size_t>& starts) {
  require(starts.size() >= 2 && starts.size() - 1 <= grid_rows_max,
          name + " must name between 1 and " + std::to_string(grid_rows_max) + " sequences");
  require(starts.front() == 0, name + " must begin with 0");
  std::size_t longest = 0;
  for (std::size_t i = 1; i < starts.size(); ++i) {
    require(starts[i - 1] <= starts[i], name + " goes down at " + std::to_string(i) + ", from " +
                                            std::to_string(starts[i - 1]) + " to " +
                                            std::to_string(starts[i]));
    longest = std::max(longest, starts[i] - starts[i - 1]);
  }
  require(starts.back() <= tokens_max, name + " must end at 2^30 or below");
  return longest;
}

float scale_log2_of(std::size_t head_dim) {
  return static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(head_dim)));
}

void fill_normal(std::string_view type, std::uint64_t seed, std::uint64_t stream, std::span<std::byte> out) {
  const std::uint64_t start = random_at(seed, stream);
  FloatTypes::visit(type, [&]<typename T>(T) { return fill_as<T>(start, out), true; });
}

std::vector<std::int32_t> permutation(std::size_t n, std::uint64_t seed) {
  std::vector<std::int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random_at(seed, i) % i]);
  return order;
}

void fill_integers(std::span<const std::int32_t> from, std::span<std::byte> out) {
  if (from.size_bytes() != out.size()) throw std::logic_error("an integer part of another size");
  if (!from.empty()) std::memcpy(out.data(), from.data(), out.size());
}

std::vector<std::int32_t> integers(std::span<const std::byte> part) {
  std::vector<std::int32_t> values(part.size() / sizeof(std::int32_t));
  if (!values.empty()) std::memcpy(values.data(), part.data(), values.size() * sizeof(std::int32_t));
  return values;
}

}  // namespace drought
