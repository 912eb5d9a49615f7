// How a KV cache stores the elements of one token and head, its row, in each type that kernels read natively.
//
//   fp32, bf16, fp16   the elements themselves
//   fp8_e4m3           one byte an element; one scale for all of K and one for all of V
//   int8               one byte an element; a float for each token and head, in an array beside the pages
//   q8_0               ggml's blocks of 32: an fp16 scale and 32 signed bytes, 34 bytes
//   q4_0               ggml's blocks of 32: an fp16 scale and 16 bytes, byte j holding element j in its low
//                      and element j + 16 in its high half, each 8 too large, 18 bytes
//
// A reader is a functor of no state: at() gives element i of the row whose first byte is bytes[row], without
// the scales that lie outside the row.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "harness/simt/number.hpp"

namespace drought {

/// What host code asks about a cache type.
struct KvType {
  std::string_view name;
  std::size_t block;        ///< Elements that are stored together; head_dim is a multiple.
  std::size_t block_bytes;  ///< Their bytes.
  bool row_scales = false;  ///< A float for each row lies beside the pages.
  bool is_plain = false;    ///< The elements are numbers of a floating-point type, of their own name.

  constexpr std::size_t row_bytes(std::size_t head_dim) const { return head_dim / block * block_bytes; }
};

template <typename T>
struct PlainRows {
  static constexpr KvType type{NumberTraits<T>::name, 1, sizeof(T), false, true};
  using Element = T;
};

/// Types whose rows are read byte by byte.
struct Fp8Rows {
  static constexpr KvType type{"fp8_e4m3", 1, 1};
  template <typename Bytes>
  DROUGHT_ANYWHERE static float at(const Bytes& bytes, std::size_t row, int i) {
    return to_float(fp8_e4m3{bytes[row + static_cast<std::size_t>(i)]});
  }
};

struct Int8Rows {
  static constexpr KvType type{"int8", 1, 1, true};
  template <typename Bytes>
  DROUGHT_ANYWHERE static float at(const Bytes& bytes, std::size_t row, int i) {
    return static_cast<float>(static_cast<std::int8_t>(bytes[row + static_cast<std::size_t>(i)]));
  }
};

inline constexpr int ggml_block = 32;

/// The fp16 at the head of a ggml block.
template <typename Bytes>
DROUGHT_ANYWHERE float ggml_scale(const Bytes& bytes, std::size_t block) {
  return to_float(fp16{static_cast<std::uint16_t>(bytes[block] | bytes[block + 1] << 8)});
}

struct Q8_0Rows {
  static constexpr KvType type{"q8_0", ggml_block, 34};
  template <typename Bytes>
  DROUGHT_ANYWHERE static float at(const Bytes& bytes, std::size_t row, int i) {
    const std::size_t block = row + static_cast<std::size_t>(i / ggml_block * 34);
    const auto level = static_cast<std::int8_t>(bytes[block + 2 + static_cast<std::size_t>(i % ggml_block)]);
    return ggml_scale(bytes, block) * static_cast<float>(level);
  }
};

struct Q4_0Rows {
  static constexpr KvType type{"q4_0", ggml_block, 18};
  template <typename Bytes>
  DROUGHT_ANYWHERE static float at(const Bytes& bytes, std::size_t row, int i) {
    const std::size_t block = row + static_cast<std::size_t>(i / ggml_block * 18);
    const unsigned pair = bytes[block + 2 + static_cast<std::size_t>(i % 16)];
    const int level = static_cast<int>(i % ggml_block < 16 ? pair & 15u : pair >> 4) - 8;
    return ggml_scale(bytes, block) * static_cast<float>(level);
  }
};

inline constexpr std::array<KvType, 7> kv_types{
    PlainRows<float>::type, PlainRows<bf16>::type, PlainRows<fp16>::type, Fp8Rows::type,
    Int8Rows::type,         Q8_0Rows::type,        Q4_0Rows::type};

}  // namespace drought
