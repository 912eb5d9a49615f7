// The shapes of prefill attention that tests go over.
#include <array>

#include "kernels/prefill_attention.hpp"

namespace drought {

std::vector<PrefillAttention::Shape> PrefillAttention::cases() {
  std::vector<Shape> made;
  for (const char* const type : {"fp32", "bf16", "fp16"}) {
    for (const std::size_t head_dim : {64, 128}) {
      for (const std::size_t queries : {1, 3, 17, 33, 65, 113}) {
        const std::size_t turn = made.size();
        const std::size_t group = std::array{1, 4, 7}[turn % 3], kv_heads = group == 7 ? 1 : 2;
        made.push_back({.type = type,
                        .batch = 1 + turn % 2,
                        .queries = queries,
                        .prefix = static_cast<std::size_t>(std::array{0, 5, 0, 64, 31}[turn % 5]),
                        .heads = group * kv_heads,
                        .kv_heads = kv_heads,
                        .head_dim = head_dim,
                        .causal = turn % 4 != 0});
      }
    }
    for (const std::size_t head_dim : {72, 80, 96, 192, 256}) {
      const std::size_t turn = made.size();
      made.push_back({.type = type,
                      .queries = 70,
                      .prefix = 3 * (turn % 3),
                      .heads = 2,
                      .head_dim = head_dim,
                      .value_dim = head_dim == 192 ? 128u : 0u,
                      .causal = turn % 2 == 0});
    }
    // Every option at once, and every pair of lengths that is a case of its own: more queries than keys, none
    // of either, and more than one tile of both.
    for (const bool causal : {true, false}) {
      for (const std::size_t window : {std::size_t{0}, std::size_t{5}, std::size_t{66}, tokens_max}) {
        const std::size_t turn = made.size();
        made.push_back({.type = type,
                        .cu_seqlens_q = {0, 1, 1, 70, 73, 143},
                        .cu_seqlens_k = {0, 9, 20, 20, 150, 167},
                        .heads = 4,
                        .kv_heads = 1 + turn % 2,
                        .head_dim = std::array<std::size_t, 3>{64, 72, 128}[turn % 3],
                        .causal = causal,
                        .window_left = window,
                        .window_right = turn % 2 == 0 ? window / 3 : tokens_max,
                        .softcap = turn % 3 == 0 ? 2.5 : 0,
                        .sinks = turn % 4 < 2});
      }
    }
  }
  return made;
}

}  // namespace drought
