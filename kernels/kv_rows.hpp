// The rows of a KV cache as the host sees them: stored from floats and read back as doubles, written from the
// formats' definitions without a line of what kernels use, so that one may judge the other.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/kv_cache.hpp"

namespace drought {

/// Throws std::invalid_argument that names the known types.
const KvType& kv_type_named(std::string_view name);

/// Checks that rows of `head_dim` elements can be stored: whole blocks. Throws std::invalid_argument.
void require_rows(const KvType& type, std::size_t head_dim);

/// Stores one row. `tensor_scale` divides what fp8_e4m3 stores. The row's own scale where the type has one
/// (int8), else 1. Rounds as ggml and CUDA do: halves away from zero in int8 and q8_0, in q4_0 down from
/// 8.5 above, ties to even in the rest. Elements that share a scale with NaN or infinity have none
/// that reads as finite.
float store_row(const KvType& type, std::span<const float> row, float tensor_scale, std::span<std::byte> out);

/// A whole pool of rows, dequantised.
class KvRows {
 public:
  struct Scales {
    double tensor = 1;                     ///< Of all elements, for fp8_e4m3.
    std::span<const std::byte> rows = {};  ///< A float for each row, for types that have them.
  };
  KvRows(const KvType& type, std::span<const std::byte> pool, std::size_t head_dim, Scales scales);

  /// head_dim elements; valid as long as this.
  std::span<const double> row(std::size_t index) const {
    return std::span(values_).subspan(index * head_dim_, head_dim_);
  }

 private:
  std::size_t head_dim_;
  std::vector<double> values_;
};

}  // namespace drought
