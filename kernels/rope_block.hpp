// The device side of rope: a block turns one token, all heads of it by angles that are computed once. A
// pair's frequency and the axis of its position are tables, so every kind of positions is the same code.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "harness/simt/launch.hpp"
#include "harness/simt/number.hpp"

namespace drought {

template <typename T>
struct RopeArguments {
  const T* x;                     // [tokens][heads][head_dim]
  const std::int32_t* positions;  // [axes][tokens]
  const float* frequencies;       // [pairs]
  const std::int32_t* axes;       // [pairs], of each pair.
  T* out;                         // As x.
  int tokens, heads, head_dim, pairs;
  bool interleaved;
};

/// Four elements, which travel together.
template <typename T>
struct __attribute__((may_alias, aligned(4 * sizeof(T)))) RopeQuad {
  T value[4];
};

template <typename T>
struct RopeBlock {
  static constexpr int threads = 128;
  static constexpr unsigned threads_max = threads;
  using Arguments = RopeArguments<T>;
  using Quad = RopeQuad<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const int token = static_cast<int>(context.block().x), pairs = given.pairs;
    float* const cosines = context.template shared<float>(0, static_cast<std::size_t>(2 * pairs));
    float* const sines = cosines + pairs;
    const auto positions = context.global(given.positions), axes = context.global(given.axes);
    const auto frequencies = context.global(given.frequencies);
    for (int pair = context.thread(); pair < pairs; pair += threads) {
      const auto at = static_cast<std::size_t>(pair);
      const auto place = static_cast<std::size_t>(axes[at]) * static_cast<std::size_t>(given.tokens) +
                         static_cast<std::size_t>(token);
      const float angle = static_cast<float>(positions[place]) * frequencies[at];
      cosines[pair] = std::cos(angle);
      sines[pair] = std::sin(angle);
    }
    context.sync();
    given.interleaved ? turn_heads<true>(context, given, cosines, sines)
                      : turn_heads<false>(context, given, cosines, sines);
  }

 private:
  /// A thread keeps to its place in a head, and goes from head to head.
  template <bool interleaved, typename Context>
  DROUGHT_DEVICE static void turn_heads(Context& context, const Arguments& given, const float* cosines,
                                        const float* sines) {
    const auto x = context.global(reinterpret_cast<const Quad*>(given.x));
    const auto out = context.global(reinterpret_cast<Quad*>(given.out));
    const int quads = given.pairs / 4, still = (given.head_dim - 2 * given.pairs) / 4;  // Of a head.
    const int width = quads + still, heads_at_once = threads / width;
    const int quad = context.thread() % width, first_head = context.thread() / width;
    if (first_head >= heads_at_once) return;
    for (int head = first_head; head < given.heads; head += heads_at_once) {
      const std::size_t start =
          (static_cast<std::size_t>(context.block().x) * static_cast<std::size_t>(given.heads) +
           static_cast<std::size_t>(head)) *
          static_cast<std::size_t>(given.head_dim / 4);
      if (quad >= quads) {
        const std::size_t at = start + static_cast<std::size_t>(quads + quad);
        out[at] = x[at];
        continue;
      }
      const std::size_t first = start + static_cast<std::size_t>(interleaved ? 2 * quad : quad);
      const std::size_t second = first + static_cast<std::size_t>(interleaved ? 1 : quads);
      Quad a = x[first], b = x[second];
      DROUGHT_UNROLL
      for (int i = 0; i < 4; ++i) {
        T& left = !interleaved ? a.value[i] : i < 2 ? a.value[2 * i % 4] : b.value[2 * i % 4];
        T& right = !interleaved ? b.value[i] : i < 2 ? a.value[2 * i % 4 + 1] : b.value[2 * i % 4 + 1];
        const float p = to_float(left), q = to_float(right);
        const float cosine = cosines[4 * quad + i], sine = sines[4 * quad + i];
        left = from_float<T>(p * cosine - q * sine);
        right = from_float<T>(q * cosine + p * sine);
      }
      out[first] = a;
      out[second] = b;
    }
  }
};

using RopeVariants = Variants<RopeBlock<float>, RopeBlock<bf16>, RopeBlock<fp16>>;

}  // namespace drought
