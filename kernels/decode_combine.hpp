// Makes one output of the pieces that a sequence was cut into, in a launch of its own.
#pragma once

#include "kernels/decode_block.hpp"

namespace drought {

/// Weighs the pieces of one head by their sums of weights. A thread for every element of a value.
template <typename T, int value_dim>
struct DecodeCombine {
  static constexpr unsigned threads_max = (value_dim + 31) / 32 * 32;
  using Arguments = DecodeArguments;
  static constexpr DecodeTypes types{NumberTraits<T>::name, "", 0, value_dim};

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto column = static_cast<std::size_t>(context.thread());
    const int head = static_cast<int>(context.block().x), batch = static_cast<int>(context.block().y);
    const int group = given.heads / given.kv_heads, unit_heads = given.heads_at_once * group;
    const int unit = batch * (given.heads / unit_heads) + head / unit_heads;
    const DecodeSlots slots = slots_of(context, given, unit);
    if (column >= value_dim || slots.count == 1) return;
    const auto split_out = context.global(static_cast<const float*>(given.split_out));
    const auto split_lse = context.global(static_cast<const float*>(given.split_lse));
    const auto place_of = [&](int piece) {
      return static_cast<std::size_t>(slots.first + piece) * static_cast<std::size_t>(unit_heads) +
             static_cast<std::size_t>(head % unit_heads);
    };
    float largest = negative_infinity();
    for (int p = 0; p < slots.count; ++p) {
      const float lse = split_lse[place_of(p)];
      largest = largest < lse ? lse : largest;
    }
    const bool sees_any = largest != negative_infinity();
    float sink = negative_infinity();
    if (given.sinks) sink = context.global(given.sinks)[static_cast<std::size_t>(head)] * log2e;
    const float base = !sees_any ? 0.0f : largest < sink ? sink : largest;
    float sum = 0.0f, total = sees_any ? exp2_of(sink - base) : 0.0f;
    for (int p = 0; p < slots.count; ++p) {
      const float weight = exp2_of(split_lse[place_of(p)] - base);
      total += weight;
      sum += weight * split_out[place_of(p) * value_dim + column];
    }
    const std::size_t row = static_cast<std::size_t>(batch) * static_cast<std::size_t>(given.heads) +
                            static_cast<std::size_t>(head);
    context.global(static_cast<T*>(given.out))[row * value_dim + column] =
        from_float<T>(total == 0.0f ? 0.0f : sum / total);
  }
};

}  // namespace drought
