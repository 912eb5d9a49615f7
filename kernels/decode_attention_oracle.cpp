// What decode attention is tried and judged with: its inputs, what is wrong with others, the oracle's answer,
// and the shapes that tests go over.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/decode_attention.hpp"
#include "kernels/decode_variants.hpp"
#include "kernels/kv_rows.hpp"
#include "kernels/oracle.hpp"
#include "kernels/shape.hpp"

namespace drought {
namespace {

/// What a block of an H200 could read while it ends one piece and begins the next: 1.5 us of half its share.
constexpr std::size_t kPieceBytes = 32 << 10;

}  // namespace

std::vector<std::int32_t> DecodeAttention::schedule_of(std::span<const std::int32_t> lengths) const {
  const std::size_t tile_bytes = decode_tile * shape_.heads_at_once *
                                 (cache_.row_bytes(shape_.head_dim) + cache_.row_bytes(shape_.value_dim));
  return decode_schedule(lengths, {.groups = groups(),
                                   .parts = shape_.parts,
                                   .window = static_cast<int>(shape_.window),
                                   .piece_tiles = static_cast<int>(kPieceBytes / tile_bytes)});
}

void DecodeAttention::fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const {
  const std::vector<std::int32_t> lengths(shape_.seqlens.begin(), shape_.seqlens.end());
  switch (index) {
    case page_table:
      return fill_integers(table(seed), to);
    case seqlens:
      return fill_integers(lengths, to);
    case schedule:
      return fill_integers(schedule_of(lengths), to);
    case q:
      return fill_normal(shape_.type, seed, index, to);
    case sinks:
      return fill_normal("fp32", seed, index, to);
    case k_scales:
    case v_scales: {
      const std::size_t of = index == k_scales ? k_pages : v_pages;
      std::vector<std::byte> rows(bytes_[of]);
      store_rows(of, seed, rows, to);
      return spoil_unused_slots(sizeof(float), seed, to);
    }
    default: {
      std::vector<std::byte> scales(bytes_[k_scales]);
      cache_.is_plain ? fill_normal(shape_.type, seed, index, to) : store_rows(index, seed, to, scales);
      const std::size_t dim = index == k_pages ? shape_.head_dim : shape_.value_dim;
      return spoil_unused_slots(cache_.row_bytes(dim), seed, to);
    }
  }
}

void DecodeAttention::store_rows(std::size_t index, std::uint64_t seed, std::span<std::byte> rows,
                                 std::span<std::byte> scales) const {
  const std::size_t dim = index == k_pages ? shape_.head_dim : shape_.value_dim;
  const std::size_t row_bytes = cache_.row_bytes(dim);
  std::vector<float> values(rows.size() / row_bytes * dim);
  fill_normal("fp32", seed, index, std::as_writable_bytes(std::span(values)));
  const auto tensor_scale = static_cast<float>(index == k_pages ? shape_.k_scale : shape_.v_scale);
  for (std::size_t r = 0; r * dim < values.size(); ++r) {
    const float scale = store_row(cache_, std::span(values).subspan(r * dim, dim), tensor_scale,
                                  rows.subspan(r * row_bytes, row_bytes));
    if (cache_.row_scales) std::memcpy(&scales[r * sizeof scale], &scale, sizeof scale);
  }
}

/// -1 where a sequence has no page.
std::vector<std::int32_t> DecodeAttention::table(std::uint64_t seed) const {
  const auto order = permutation(pages_, seed);
  std::vector<std::int32_t> entries(shape_.seqlens.size() * table_width_, -1);
  std::size_t given = 0;
  for (std::size_t b = 0; b < shape_.seqlens.size(); ++b)
    for (std::size_t p = 0; p * shape_.page_size < shape_.seqlens[b]; ++p)
      entries[b * table_width_ + p] = order[given++];
  return entries;
}

void DecodeAttention::spoil_unused_slots(std::size_t row_bytes, std::uint64_t seed,
                                         std::span<std::byte> pool) const {
  std::vector<std::size_t> used(pages_, 0);
  const auto entries = table(seed);
  for (std::size_t b = 0; b < shape_.seqlens.size(); ++b)
    for (std::size_t p = 0; p * shape_.page_size < shape_.seqlens[b]; ++p)
      used[static_cast<std::size_t>(entries[b * table_width_ + p])] =
          std::min(shape_.page_size, shape_.seqlens[b] - p * shape_.page_size);
  const std::size_t slot_bytes = shape_.kv_heads * row_bytes;
  for (std::size_t page = 0; page < pages_; ++page) {
    const auto slots = pool.subspan(page * shape_.page_size * slot_bytes, shape_.page_size * slot_bytes);
    std::ranges::fill(slots.subspan(used[page] * slot_bytes), std::byte{0xff});
  }
}

std::string DecodeAttention::wrong_inputs(std::span<const std::span<const std::byte>> parts) const {
  const auto lengths = integers(parts[seqlens]), entries = integers(parts[page_table]);
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    const std::size_t holds = table_width_ * shape_.page_size;
    if (lengths[b] < 0 || static_cast<std::size_t>(lengths[b]) > holds)
      return "seqlens[" + std::to_string(b) + "] is " + std::to_string(lengths[b]) +
             ", the page table holds " + std::to_string(holds) + " tokens";
    const std::size_t pages =
        (static_cast<std::size_t>(lengths[b]) + shape_.page_size - 1) / shape_.page_size;
    for (std::size_t p = 0; p < pages; ++p) {
      const std::int32_t page = entries[b * table_width_ + p];
      if (page >= 0 && static_cast<std::size_t>(page) < pages_) continue;
      return "page_table[" + std::to_string(b) + "][" + std::to_string(p) + "] is " + std::to_string(page) +
             ", the pool has " + std::to_string(pages_) + " pages";
    }
  }
  if (shape_.splits != 0) return {};
  const auto wanted = schedule_of(lengths), given = integers(parts[schedule]);
  const auto differs = std::mismatch(wanted.begin(), wanted.end(), given.begin(), given.end()).first;
  if (differs == wanted.end()) return {};
  return "schedule[" + std::to_string(differs - wanted.begin()) + "] is not what seqlens ask for, " +
         std::to_string(*differs);
}

/// The first key that a sequence's newest token sees.
std::size_t DecodeAttention::first_visible(std::size_t length) const {
  return shape_.window != 0 && shape_.window < length ? length - shape_.window : 0;
}

Comparison DecodeAttention::compare(std::span<const std::span<const std::byte>> parts) const {
  const Shape& s = shape_;
  const std::size_t batch = s.seqlens.size();
  const auto part = [&](PartIndex index) {
    return bytes_[index] == 0 ? std::span<const std::byte>{} : parts[index];
  };
  const HostTensor queries(parts[q], s.type, {batch, s.heads, s.head_dim});
  const KvRows keys(cache_, parts[k_pages], s.head_dim, {s.k_scale, part(k_scales)});
  const KvRows values(cache_, part(v_pages), s.value_dim, {s.v_scale, part(v_scales)});
  // The oracle's own scale is 1 / sqrt(head_dim).
  const double more_scale = s.scale == 0 ? 1 : s.scale * std::sqrt(static_cast<double>(s.head_dim));
  const HostTensor pages(parts[page_table], "int32", {batch, table_width_});
  const HostTensor lengths(parts[seqlens], "int32", {batch});
  const HostTensor sink_scores(part(sinks), "fp32", {s.sinks ? s.heads : 0});
  const HostTensor got(parts[out], s.type, {batch, s.heads, s.value_dim});
  Judge judge(norm_limit(s.type));
  for (std::size_t b = 0; b < batch; ++b) {
    const auto length = static_cast<std::size_t>(lengths.at({b}));
    for (std::size_t h = 0; h < s.heads; ++h) {
      AttentionOracle oracle({s.head_dim, s.value_dim}, s.type);
      if (s.cache == Q4_0Rows::type.name) oracle.allow({.elements = 32, .times = 17});
      const std::size_t kv_head = h / (s.heads / s.kv_heads);
      std::size_t page = 0, slot = 0;
      for (std::size_t j = 0; j < length; ++j) {
        const auto place = static_cast<std::size_t>(pages.at({b, page}));
        const std::size_t row = (place * s.page_size + slot) * s.kv_heads + kv_head;
        oracle.push(keys.row(row), s.latent ? keys.row(row).first(s.value_dim) : values.row(row));
        if (++slot == s.page_size) ++page, slot = 0;
      }
      std::vector<double> query(queries.row({b, h}).begin(), queries.row({b, h}).end());
      for (double& element : query) element *= more_scale;
      const auto answer = oracle.ask(query, {.begin = first_visible(length),
                                             .end = length,
                                             .softcap = s.softcap,
                                             .sink = s.sinks ? sink_scores.at({h}) : -INFINITY});
      for (std::size_t d = 0; d < s.value_dim; ++d) {
        judge.take(got.at({b, h, d}), answer.out[d], answer.tolerance[d], [&] {
          return "out[" + std::to_string(b) + "][" + std::to_string(h) + "][" + std::to_string(d) + "]";
        });
      }
    }
  }
  return judge.verdict();
}

double DecodeAttention::kv_bytes() const {
  double tokens = 0;
  for (const std::size_t length : shape_.seqlens)
    tokens += static_cast<double>(length - first_visible(length));
  const std::size_t row = cache_.row_bytes(shape_.head_dim) +
                          (shape_.latent ? 0 : cache_.row_bytes(shape_.value_dim)) +
                          (cache_.row_scales ? 2 * sizeof(float) : 0);
  return tokens * static_cast<double>(shape_.kv_heads * row);
}

double DecodeAttention::flops() const {
  double tokens = 0;
  for (const std::size_t length : shape_.seqlens)
    tokens += static_cast<double>(length - first_visible(length));
  return 2 * tokens * static_cast<double>(shape_.heads * (shape_.head_dim + shape_.value_dim));
}

std::vector<DecodeAttention::Shape> DecodeAttention::cases() {
  const std::vector<std::size_t> lengths[] = {{1, 3, 17, 0}, {33, 113, 65}, {64, 0, 128, 2}, {0}};
  std::vector<Shape> made;
  const auto add = [&](const DecodeTypes& types) {
    for (int i = 0; i < 2; ++i) {
      const std::size_t turn = made.size();
      const bool latent = types.key_dim == MlaTiles<float>::key_dim;
      const std::size_t group = std::array{1, 4, 7, 20, 8}[turn % 5], kv_heads = group > 8 || latent ? 1 : 2;
      made.push_back({.type = std::string(types.type),
                      .cache = std::string(types.cache),
                      .seqlens = lengths[turn % 4],
                      .page_size = std::array<std::size_t, 3>{1, 3, 16}[turn % 3],
                      .pages = turn % 2 == 0 ? 0u : 300u,
                      .splits = std::array<std::size_t, 5>{1, 2, 0, 5, 0}[turn % 5],
                      .parts = turn % 4 + 3,
                      .heads_at_once = turn % 2 + 1 > kv_heads ? 1 : turn % 2 + 1,
                      .heads = group * kv_heads,
                      .kv_heads = kv_heads,
                      .head_dim = types.key_dim,
                      .value_dim = types.value_dim,
                      .latent = latent,
                      .scale = latent ? 0.0721687836 : 0,  // 1 / sqrt(128 + 64).
                      .window = turn % 7 == 2 ? 50u : 0u,
                      .softcap = turn % 7 == 4 ? 2.5 : 0,
                      .sinks = turn % 7 == 5,
                      .k_scale = types.cache == Fp8Rows::type.name ? 0.25 : 1,
                      .v_scale = types.cache == Fp8Rows::type.name ? 0.75 : 1});
    }
  };
  const auto add_all = [&]<typename... Blocks>(Variants<Blocks...>) { (add(Blocks::types), ...); };
  add_all(DecodeVariants{});
  return made;
}

}  // namespace drought
