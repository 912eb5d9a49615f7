// The portable body of prefill and vision attention: a block is four warps (two, where the rows are
// so long that shared memory holds no more) with 16 queries of one head each. Which keys a query sees is a
// matter of numbers (its sequence's bounds and a window), so that causal, windowed, chunked and full
// attention are one kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "harness/simt/launch.hpp"
#include "kernels/attention.hpp"
#include "kernels/prefill_arguments.hpp"

namespace drought {

template <typename T, int head_dim, int value_dim = head_dim>
struct PrefillBlock {
  static constexpr int warps = sizeof(T) * head_dim > 768 ? 2 : 4;
  static constexpr unsigned threads_max = warps * warp_lanes;
  using Arguments = PrefillArguments<T>;
  using Tiles = AttentionTiles<T, head_dim, warps, value_dim>;

  template <typename Context>
  DROUGHT_DEVICE static PrefillSequence sequence_of(Context& context, const Arguments& given) {
    const auto at = static_cast<int>(context.block().z);
    if (!given.cu_seqlens_q) return {at * given.queries, given.queries, at * given.keys, given.keys};
    const auto q = context.global(given.cu_seqlens_q), k = context.global(given.cu_seqlens_k);
    const auto place = static_cast<std::size_t>(at);
    return {q[place], q[place + 1] - q[place], k[place], k[place + 1] - k[place]};
  }

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const PrefillSequence sequence = sequence_of(context, given);
    const int first_query = static_cast<int>(context.block().x) * Tiles::rows;
    if (first_query >= sequence.queries) return;
    const auto heads = static_cast<std::size_t>(given.heads),
               kv_heads = static_cast<std::size_t>(given.kv_heads);
    const std::size_t head = context.block().y, kv_head = head / (heads / kv_heads);
    const auto row_of = [&](int row, std::size_t row_dim) {
      const bool valid = first_query + row < sequence.queries;
      const auto token = static_cast<std::size_t>(sequence.first_query + first_query + row);
      return GlobalRow{valid ? (token * heads + head) * row_dim : 0, valid};
    };
    const auto key_at = [&](int key) {
      return (static_cast<std::size_t>(sequence.first_key + key) * kv_heads + kv_head) * head_dim;
    };
    const auto last_below = [&](int row) { return row < sequence.queries ? row : sequence.queries - 1; };
    const int own = first_query + context.warp() * tile_rows;
    const int rows[2] = {own + context.lane() / 4, own + context.lane() / 4 + 8};
    AttentionRange range;
    range.begin = sequence.first_seen(first_query, given.left);
    range.end = sequence.last_seen(last_below(first_query + Tiles::rows - 1), given.right);
    for (int r = 0; r < 2; ++r) {
      range.first[r] = sequence.first_seen(rows[r], given.left);
      range.limit[r] = rows[r] < sequence.queries ? sequence.last_seen(rows[r], given.right) : 0;
    }
    range.warp_first = sequence.first_seen(own, given.left);
    range.warp_limit =
        own < sequence.queries ? sequence.last_seen(last_below(own + tile_rows - 1), given.right) : 0;
    range.all_first = sequence.first_seen(last_below(own + tile_rows - 1), given.left);
    range.all_limit = sequence.last_seen(own, given.right);
    range.scale_log2 = given.scale_log2;
    range.softcap_log2 = given.softcap_log2;
    if (given.sinks) range.sink_log2 = context.global(given.sinks)[head] * 1.44269504f;

    AttentionSums<value_dim> sums;
    attend<T, head_dim, warps, value_dim>(
        context, context.global(given.q), context.global(given.k), context.global(given.v),
        [&](int row) { return row_of(row, head_dim); }, key_at, range, sums);
    write_rows<T, head_dim, warps>(context, sums, given.out, [&](int row) { return row_of(row, value_dim); });
  }
};

template <typename T, int head_dim_, int value_dim_ = head_dim_>
struct PrefillVariant {
  using Number = T;
  using Block = PrefillBlock<T, head_dim_, value_dim_>;
  static constexpr std::size_t head_dim = head_dim_, value_dim = value_dim_;
};

template <typename... Listed>
struct PrefillList {
  using Functors = Variants<typename Listed::Block...>;

  /// Calls `visit(variant)` for the one that fits; whether there is one.
  template <typename Visit>
  static bool visit(std::string_view type, std::size_t head_dim, std::size_t value_dim, Visit visit) {
    const auto fits = [&](auto variant) {
      using Variant = decltype(variant);
      return type == NumberTraits<typename Variant::Number>::name && head_dim == Variant::head_dim &&
             value_dim == Variant::value_dim;
    };
    return ((fits(Listed{}) && (visit(Listed{}), true)) || ...);
  }
};

/// Every type and head size that prefill and vision attention are compiled for.
using PrefillVariantList = PrefillList<
    PrefillVariant<float, 64>, PrefillVariant<float, 72>, PrefillVariant<float, 80>,
    PrefillVariant<float, 96>, PrefillVariant<float, 128>, PrefillVariant<float, 192, 128>,
    PrefillVariant<float, 256>,  //
    PrefillVariant<bf16, 64>, PrefillVariant<bf16, 72>, PrefillVariant<bf16, 80>, PrefillVariant<bf16, 96>,
    PrefillVariant<bf16, 128>, PrefillVariant<bf16, 192, 128>, PrefillVariant<bf16, 256>,  //
    PrefillVariant<fp16, 64>, PrefillVariant<fp16, 72>, PrefillVariant<fp16, 80>, PrefillVariant<fp16, 96>,
    PrefillVariant<fp16, 128>, PrefillVariant<fp16, 192, 128>, PrefillVariant<fp16, 256>>;
using PrefillVariants = PrefillVariantList::Functors;

}  // namespace drought
