#include "kernels/kv_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "kernels/shape.hpp"

namespace drought {
namespace {

template <typename T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void write(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

template <typename T>
void store_each(std::span<const float> row, std::span<std::byte> out) {
  for (std::size_t i = 0; i < row.size(); ++i) write(&out[i * sizeof(T)], from_float<T>(row[i]));
}

/// NaN's is infinity.
float size_of(float value) { return std::isnan(value) ? INFINITY : std::abs(value); }

float largest_size(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, size_of(value));
  return largest;
}

/// The scale in float, and the levels of `values` in it.
float store_int8(std::span<const float> values, std::byte* out) {
  const float scale = largest_size(values) / 127.0f, inverse = scale == 0 ? 0 : 1.0f / scale;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float level = std::round(values[i] * inverse);
    write(out + i, static_cast<std::int8_t>(level >= -127 ? std::min(level, 127.0f) : -127.0f));
  }
  return scale;
}

void store_q8_0(std::span<const float> block, std::byte* out) {
  write(out, from_float<fp16>(store_int8(block, out + 2)));
}

void store_q4_0(std::span<const float> block, std::byte* out) {
  float extreme = 0;
  for (const float value : block)
    if (size_of(value) > size_of(extreme)) extreme = value;
  const float scale = extreme / -8.0f, inverse = scale == 0 ? 0 : 1.0f / scale;
  write(out, from_float<fp16>(scale));
  const auto level = [&](float value) {
    const float product = value * inverse;  // Not to be fused with the addition: CUDA's would differ.
    const float level = product + 8.5f;
    return static_cast<std::uint8_t>(level >= 0 ? std::min(level, 15.0f) : 0);
  };
  for (std::size_t j = 0; j < 16; ++j)
    write(out + 2 + j, static_cast<std::uint8_t>(level(block[j]) | level(block[j + 16]) << 4));
}

/// Element i of a row, without its outer scale.
double element(std::string_view type, const std::byte* row, std::size_t i) {
  if (type == "fp32") return static_cast<double>(read<float>(row + 4 * i));
  if (type == "bf16") return static_cast<double>(to_float(read<bf16>(row + 2 * i)));
  if (type == "fp16") return static_cast<double>(to_float(read<fp16>(row + 2 * i)));
  if (type == "fp8_e4m3") return static_cast<double>(to_float(read<fp8_e4m3>(row + i)));
  if (type == "int8") return read<std::int8_t>(row + i);
  const std::size_t within = i % 32;
  const std::byte* const block = row + i / 32 * (type == "q8_0" ? 34 : 18);
  const double scale = static_cast<double>(to_float(read<fp16>(block)));
  if (type == "q8_0") return scale * read<std::int8_t>(block + 2 + within);
  const auto both = std::to_integer<int>(block[2 + within % 16]);
  return scale * ((within < 16 ? both % 16 : both / 16) - 8);
}

}  // namespace

const KvType& kv_type_named(std::string_view name) {
  std::string known;
  for (const KvType& type : kv_types) {
    if (type.name == name) return type;
    known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  throw std::invalid_argument("unknown cache type '" + std::string(name) + "'; known: " + known);
}

void require_rows(const KvType& type, std::size_t head_dim) {
  require(head_dim % type.block == 0, "a cache of " + std::string(type.name) + " stores " +
                                          std::to_string(type.block) + " elements together, and head_dim " +
                                          std::to_string(head_dim) + " is not a multiple");
}

float store_row(const KvType& type, std::span<const float> row, float tensor_scale,
                std::span<std::byte> out) {
  if (type.name == "fp32") store_each<float>(row, out);
  if (type.name == "bf16") store_each<bf16>(row, out);
  if (type.name == "fp16") store_each<fp16>(row, out);
  for (std::size_t i = 0; i < row.size() && type.name == "fp8_e4m3"; ++i)
    write(&out[i], from_float<fp8_e4m3>(row[i] / tensor_scale));
  if (type.name == "int8") return store_int8(row, out.data());
  for (std::size_t block = 0; block * 32 < row.size(); ++block) {
    if (type.name == "q8_0") store_q8_0(row.subspan(block * 32, 32), &out[block * 34]);
    if (type.name == "q4_0") store_q4_0(row.subspan(block * 32, 32), &out[block * 18]);
  }
  return 1;
}

KvRows::KvRows(const KvType& type, std::span<const std::byte> pool, std::size_t head_dim, Scales scales)
    : head_dim_(head_dim) {
  const std::size_t row_bytes = type.row_bytes(head_dim), rows = pool.size() / row_bytes;
  values_.reserve(rows * head_dim);
  for (std::size_t r = 0; r < rows; ++r) {
    const double scale =
        type.row_scales ? static_cast<double>(read<float>(&scales.rows[r * sizeof(float)])) : scales.tensor;
    for (std::size_t i = 0; i < head_dim; ++i)
      values_.push_back(element(type.name, &pool[r * row_bytes], i) * scale);
  }
}

}  // namespace drought
