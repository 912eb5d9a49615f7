// What every body of prefill attention is given.
#pragma once

namespace drought {

template <typename T>
struct PrefillArguments {
  const T *q, *k, *v;  // q [batch][queries][heads][head_dim], k and v [batch][keys][kv_heads][head_dim].
  T* out;              // As q.
  int queries, keys;   // keys = prefix + queries.
  int heads, kv_heads;
  float scale_log2;
  bool causal;
};

}  // namespace drought
