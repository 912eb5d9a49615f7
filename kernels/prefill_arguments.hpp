// What every body of prefill attention is given.
#pragma once

#include <cstdint>

#include "harness/simt/config.hpp"

namespace drought {

template <typename T>
struct PrefillArguments {
  const T *q, *k, *v;  // q [tokens][heads][head_dim], k and v [tokens][kv_heads][head_dim or value_dim].
  T* out;              // [tokens][heads][value_dim]
  const float* sinks;  // [heads], or null.
  // Where sequences begin, [sequences + 1]. Null: each has `queries` and `keys`.
  const std::int32_t *cu_seqlens_q, *cu_seqlens_k;
  int queries, keys;  // The most of a sequence.
  int sequences, heads, kv_heads;
  // A query's own key is as far from its sequence's last key as the query is from the last query. It sees
  // `left` keys before and `right` keys after that one.
  int left, right;
  float scale_log2, softcap_log2;  // softcap_log2 of 0: no cap.
};

/// One sequence: its first query and key in the tensors, and how many it has.
struct PrefillSequence {
  int first_query, queries, first_key, keys;

  /// The keys [first_seen, last_seen) are what a query sees; last_seen may be below first_seen.
  DROUGHT_ANYWHERE int first_seen(int query, int left) const {
    const int first = query + keys - queries - left;
    return first > 0 ? first : 0;
  }
  DROUGHT_ANYWHERE int last_seen(int query, int right) const {
    const int own = query + keys - queries;
    const int end = right < keys - 1 - own ? own + 1 + right : keys;
    return end > 0 ? end : 0;
  }
};

}  // namespace drought
