// The device side of kv_append: one warp stores one row, an element of each block of 32 in each lane.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "harness/simt/arithmetic.hpp"
#include "harness/simt/launch.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"
#include "kernels/kv_cache.hpp"

namespace drought {

struct KvAppendArguments {
  const void *k, *v;          // [tokens][kv_heads][head_dim]; v null: there are keys only.
  const std::int32_t* slots;  // [tokens]
  void *k_pages, *v_pages;
  float *k_scales, *v_scales;
  int kv_heads, head_dim;
  float k_scale, v_scale;
};

/// x * y and x + y, each rounded by itself.
DROUGHT_ANYWHERE float rounded_product(float x, float y) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(x, y);
#else
  return x * y;
#endif
}
DROUGHT_ANYWHERE float rounded_sum(float x, float y) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(x, y);
#else
  return x + y;
#endif
}

/// The nearest integer between -127 and 127, halves away from zero; NaN gives -127.
DROUGHT_ANYWHERE int nearest_level(float x) {
  const float bounded = x > 127.0f ? 127.0f : x >= -127.0f ? x : -127.0f;
  const int whole = static_cast<int>(bounded);
  const float rest = bounded - static_cast<float>(whole);
  return whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
}

struct KvAppendTypes {
  std::string_view type, cache;
  friend bool operator==(const KvAppendTypes&, const KvAppendTypes&) = default;
};

template <typename T, typename Rows>
struct KvAppendBlock {
  static constexpr unsigned threads_max = warp_lanes;
  using Arguments = KvAppendArguments;
  static constexpr KvAppendTypes types{NumberTraits<T>::name, Rows::type.name};

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const std::size_t token = context.block().x, head = context.block().y;
    const std::int32_t slot = context.global(given.slots)[token];
    if (slot < 0) return;
    const auto kv_heads = static_cast<std::size_t>(given.kv_heads),
               dim = static_cast<std::size_t>(given.head_dim);
    const std::size_t row = static_cast<std::size_t>(slot) * kv_heads + head;
    const Row<Context> keys{context, context.global(static_cast<const T*>(given.k)),
                            (token * kv_heads + head) * dim, given.head_dim};
    store(keys, given.k_pages, given.k_scales, given.k_scale, row);
    if (given.v == nullptr) return;
    const Row<Context> values{context, context.global(static_cast<const T*>(given.v)),
                              (token * kv_heads + head) * dim, given.head_dim};
    store(values, given.v_pages, given.v_scales, given.v_scale, row);
  }

 private:
  template <typename Context>
  struct Row {
    Context& context;
    typename Context::template Global<const T> from;
    std::size_t start;
    int dim;
    DROUGHT_DEVICE float at(int i) const { return to_float(from[start + static_cast<std::size_t>(i)]); }
  };

  /// NaN is as large as infinity, so that the scale that it has a share in hides it from nobody.
  DROUGHT_DEVICE static float size_of(float x) { return x < 0 ? -x : x >= 0 ? x : -negative_infinity(); }

  template <typename Context>
  DROUGHT_DEVICE static void store(const Row<Context>& row, void* pages, float* scales, float tensor_scale,
                                   std::size_t place) {
    constexpr std::size_t elements = Rows::type.block, bytes = Rows::type.block_bytes;
    const std::size_t start = place * (static_cast<std::size_t>(row.dim) / elements * bytes);
    if constexpr (Rows::type.is_plain) {
      const auto to = row.context.global(static_cast<typename Rows::Element*>(pages));
      for (int i = row.context.lane(); i < row.dim; i += warp_lanes)
        to[start / sizeof(typename Rows::Element) + static_cast<std::size_t>(i)] =
            from_float<typename Rows::Element>(row.at(i));
    } else {
      const auto to = row.context.global(static_cast<std::uint8_t*>(pages));
      if constexpr (std::is_same_v<Rows, Fp8Rows>) {
        for (int i = row.context.lane(); i < row.dim; i += warp_lanes)
          to[start + static_cast<std::size_t>(i)] = from_float<fp8_e4m3>(row.at(i) / tensor_scale).bits;
      } else if constexpr (std::is_same_v<Rows, Int8Rows>) {
        float largest[1] = {0.0f};
        for (int i = row.context.lane(); i < row.dim; i += warp_lanes)
          largest[0] = largest[0] < size_of(row.at(i)) ? size_of(row.at(i)) : largest[0];
        row.context.template reduce_max<warp_lanes>(largest);
        const float scale = largest[0] / 127.0f, inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
        for (int i = row.context.lane(); i < row.dim; i += warp_lanes)
          to[start + static_cast<std::size_t>(i)] =
              static_cast<std::uint8_t>(nearest_level(rounded_product(row.at(i), inverse)));
        if (row.context.lane() == 0) row.context.global(scales)[place] = scale;
      } else {
        for (int block = 0; block * ggml_block < row.dim; ++block)
          store_block(row, to, start + static_cast<std::size_t>(block) * bytes,
                      row.at(block * ggml_block + row.context.lane()));
      }
    }
  }

  /// A ggml block, of which each lane has one element.
  template <typename Context>
  DROUGHT_DEVICE static void store_block(const Row<Context>& row,
                                         const typename Context::template Global<std::uint8_t>& to,
                                         std::size_t at, float value) {
    Context& context = row.context;
    const auto lane = static_cast<std::size_t>(context.lane());
    float largest[1] = {size_of(value)};
    context.template reduce_max<warp_lanes>(largest);
    float scale;
    if constexpr (std::is_same_v<Rows, Q8_0Rows>) {
      scale = largest[0] / 127.0f;
      const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
      to[at + 2 + lane] = static_cast<std::uint8_t>(nearest_level(rounded_product(value, inverse)));
    } else {
      // The first of the largest elements, with its sign, becomes level -8.
      float first[1] = {size_of(value) == largest[0] ? static_cast<float>(warp_lanes - context.lane())
                                                     : 0.0f};
      context.template reduce_max<warp_lanes>(first);
      const float extreme = context.shuffle(value, (warp_lanes - static_cast<int>(first[0])) % warp_lanes);
      scale = extreme / -8.0f;
      const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
      const float level = rounded_sum(rounded_product(value, inverse), 8.5f);
      const int own = level >= 15.0f ? 15 : level >= 0.0f ? static_cast<int>(level) : 0;
      const int other = context.shuffle_xor(own, 16);
      if (lane < 16) to[at + 2 + lane] = static_cast<std::uint8_t>(own | other << 4);
    }
    if (lane >= 2) return;
    const std::uint16_t bits = from_float<fp16>(scale).bits;
    to[at + lane] = static_cast<std::uint8_t>(lane == 0 ? bits : bits >> 8);
  }
};

using KvAppendVariants =
    Variants<KvAppendBlock<float, PlainRows<float>>, KvAppendBlock<bf16, PlainRows<bf16>>,
             KvAppendBlock<fp16, PlainRows<fp16>>, KvAppendBlock<bf16, Fp8Rows>,
             KvAppendBlock<bf16, Int8Rows>, KvAppendBlock<bf16, Q8_0Rows>, KvAppendBlock<bf16, Q4_0Rows>,
             KvAppendBlock<fp16, Fp8Rows>, KvAppendBlock<fp16, Int8Rows>, KvAppendBlock<fp16, Q8_0Rows>,
             KvAppendBlock<fp16, Q4_0Rows>>;

}  // namespace drought
