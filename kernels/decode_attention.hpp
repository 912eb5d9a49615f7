// Attention of one new token of each sequence over its cached keys, which lie in pages of any size that a
// page table names: what a server runs for every generated token. The query heads that share a KV head are
// the rows of one tile. A sequence may be split over several blocks, each of which leaves a partial result
// and its logarithm of the weights' sum in the workspace; a second launch combines them. A sequence of
// length 0 gives zeros. A block is one warp.
//
// Two device functions, a page table to make and to check, and two launches: more than 300 lines, which
// belong together.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/attention.hpp"
#include "kernels/oracle.hpp"
#include "kernels/shape.hpp"

namespace drought {

template <typename T>
struct DecodeArguments {
  const T *q, *k, *v;  // q [batch][heads][head_dim], k and v [page][page_size][kv_heads][head_dim].
  const std::int32_t* page_table;  // [batch][table_width]
  const std::int32_t* seqlens;     // [batch]
  T* out;                          // As q.
  float* split_out;                // [splits][batch][heads][head_dim], where splits > 1.
  float* split_lse;                // [splits][batch][heads], base 2; -infinity for a split without keys.
  int batch, heads, kv_heads, page_size, table_width, splits;
  float scale_log2;
};

template <typename T, int head_dim>
struct DecodeBlock {
  static constexpr int warps = 1;
  static constexpr unsigned threads_max = warps * warp_lanes;
  using Arguments = DecodeArguments<T>;
  using Tiles = AttentionTiles<T, head_dim, warps>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const int group = given.heads / given.kv_heads;
    const int row_tiles = (group + tile_rows - 1) / tile_rows;
    const int split = static_cast<int>(context.block().x), batch = static_cast<int>(context.block().z);
    const int kv_head = static_cast<int>(context.block().y) / row_tiles;
    const int first_row = static_cast<int>(context.block().y) % row_tiles * tile_rows;
    const int length = context.global(given.seqlens)[static_cast<std::size_t>(batch)];

    // The head of a row, counted over the whole batch.
    const auto head_at = [&](int row) {
      return static_cast<std::size_t>(batch) * static_cast<std::size_t>(given.heads) +
             static_cast<std::size_t>(kv_head * group + row);
    };
    const auto query_at = [&](int row) {
      const bool valid = first_row + row < group;
      return GlobalRow{valid ? head_at(first_row + row) * head_dim : 0, valid};
    };
    const auto page_table = context.global(given.page_table);
    const auto key_at = [&](int key) {
      const std::size_t entry =
          static_cast<std::size_t>(batch) * static_cast<std::size_t>(given.table_width) +
          static_cast<std::size_t>(key / given.page_size);
      const std::size_t slot =
          static_cast<std::size_t>(page_table[entry]) * static_cast<std::size_t>(given.page_size) +
          static_cast<std::size_t>(key % given.page_size);
      return (slot * static_cast<std::size_t>(given.kv_heads) + static_cast<std::size_t>(kv_head)) * head_dim;
    };
    const int tiles = (length + Tiles::keys - 1) / Tiles::keys;
    const int split_keys = (tiles + given.splits - 1) / given.splits * Tiles::keys;
    const int rows[2] = {first_row + context.lane() / 4, first_row + context.lane() / 4 + 8};
    AttentionRange range;
    range.begin = split * split_keys < length ? split * split_keys : length;
    range.end = split_keys < length - range.begin ? range.begin + split_keys : length;
    for (int r = 0; r < 2; ++r) range.limit[r] = rows[r] < group ? range.end : 0;
    range.warp_limit = range.end;
    range.scale_log2 = given.scale_log2;

    AttentionSums<head_dim> sums;
    attend<T, head_dim, warps>(context, context.global(given.q), context.global(given.k),
                               context.global(given.v), query_at, key_at, range, sums);

    DROUGHT_UNROLL
    for (int e = 0; e < 4; ++e)
      if (rows[e / 2] < group) leave(context, given, sums, e, split, head_at(rows[e / 2]));
  }

 private:
  /// Writes what the thread has of one row: as the output, or as one split's share of it.
  template <typename Context>
  DROUGHT_DEVICE static void leave(Context& context, const Arguments& given,
                                   const AttentionSums<head_dim>& sums, int element, int split,
                                   std::size_t head) {
    const auto out = context.global(given.out);
    const auto split_out = context.global(given.split_out);
    const std::size_t all_heads =
        static_cast<std::size_t>(given.batch) * static_cast<std::size_t>(given.heads);
    const std::size_t split_head = static_cast<std::size_t>(split) * all_heads + head;
    DROUGHT_UNROLL
    for (int t = 0; t < head_dim / 8; ++t) {
      const auto column = static_cast<std::size_t>(Fragment<head_dim>::column(context.lane(), t, element));
      const float value = sums.normalized(t, element);
      if (given.splits == 1) {
        out[head * head_dim + column] = from_float<T>(value);
      } else {
        split_out[split_head * head_dim + column] = value;
      }
    }
    if (given.splits == 1 || element % 2 != 0 || context.lane() % 4 != 0) return;
    const float sum = sums.weight_sum(element);
    context.global(given.split_lse)[split_head] =
        sum == 0.0f ? negative_infinity() : sums.largest[element / 2] + log2_of(sum);
  }
};

/// Weighs the splits of one head by their sums of weights. A thread for every element of head_dim.
template <typename T, int head_dim>
struct DecodeCombine {
  static constexpr unsigned threads_max = 128;
  using Arguments = DecodeArguments<T>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const auto column = static_cast<std::size_t>(context.thread());
    if (column >= head_dim) return;
    const std::size_t all_heads =
        static_cast<std::size_t>(given.batch) * static_cast<std::size_t>(given.heads);
    const std::size_t head =
        static_cast<std::size_t>(context.block().y) * static_cast<std::size_t>(given.heads) +
        context.block().x;
    const auto split_out = context.global(static_cast<const float*>(given.split_out));
    const auto split_lse = context.global(static_cast<const float*>(given.split_lse));
    float largest = negative_infinity();
    for (int s = 0; s < given.splits; ++s) {
      const float lse = split_lse[static_cast<std::size_t>(s) * all_heads + head];
      largest = largest < lse ? lse : largest;
    }
    const float base = largest == negative_infinity() ? 0.0f : largest;
    float sum = 0.0f, total = 0.0f;
    for (int s = 0; s < given.splits; ++s) {
      const std::size_t split_head = static_cast<std::size_t>(s) * all_heads + head;
      const float weight = exp2_of(split_lse[split_head] - base);
      total += weight;
      sum += weight * split_out[split_head * head_dim + column];
    }
    context.global(given.out)[head * head_dim + column] = from_float<T>(total == 0.0f ? 0.0f : sum / total);
  }
};

using DecodeVariants = Variants<DecodeBlock<float, 64>, DecodeBlock<float, 128>, DecodeBlock<bf16, 64>,
                                DecodeBlock<bf16, 128>, DecodeCombine<float, 64>, DecodeCombine<float, 128>,
                                DecodeCombine<bf16, 64>, DecodeCombine<bf16, 128>>;

class DecodeAttention final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::vector<std::size_t> seqlens = {17, 0, 33};  ///< Cached tokens of each sequence.
    std::size_t page_size = 16;                      ///< Tokens of a page.
    std::size_t pages = 0;                           ///< Of the pool; 0: as many as the sequences fill.
    std::size_t splits = 1;
    std::size_t heads = 4, kv_heads = 1;
    std::size_t head_dim = 64;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),           key("seqlens", &Shape::seqlens),
                        key("page_size", &Shape::page_size), key("pages", &Shape::pages),
                        key("splits", &Shape::splits),       key("heads", &Shape::heads),
                        key("kv_heads", &Shape::kv_heads),   key("head_dim", &Shape::head_dim)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "decode_attention";
  static constexpr std::string_view summary = "attention of one new token over a paged KV cache, in splits";
  enum PartIndex : std::size_t {
    q,
    k_pages,
    v_pages,
    page_table,
    seqlens,
    out,
    split_out,
    split_lse,
    part_count
  };
  static constexpr std::array<std::string_view, part_count> part_names{
      "q", "k_pages", "v_pages", "page_table", "seqlens", "out", "split_out", "split_lse"};

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit DecodeAttention(const Shape& shape) : shape_(shape) {
    constexpr std::array<std::size_t, 2> head_dims{64, 128};
    require_heads(shape.type, shape.head_dim, head_dims, shape.heads, shape.kv_heads);
    require(!shape.seqlens.empty() && shape.seqlens.size() <= grid_rows_max,
            "seqlens must name between 1 and " + std::to_string(grid_rows_max) + " sequences");
    require(shape.page_size > 0 && shape.page_size <= tokens_max, "page_size must be between 1 and 2^30");
    require(shape.splits > 0 && shape.splits <= 1024, "splits must be between 1 and 1024");
    for (const std::size_t length : shape.seqlens) {
      require(length <= tokens_max, "a sequence is longer than 2^30 tokens");
      const std::size_t pages = (length + shape.page_size - 1) / shape.page_size;
      table_width_ = std::max(table_width_, pages);
      pages_used_ += pages;
    }
    pages_ = shape.pages == 0 ? pages_used_ : shape.pages;
    require(pages_ >= pages_used_, std::to_string(pages_) + " pages do not hold the sequences, which fill " +
                                       std::to_string(pages_used_));
    require(pages_ <= tokens_max, "pages are more than 2^30");
    const std::size_t element = element_bytes(shape.type), batch = shape.seqlens.size();
    bytes_[q] = bytes_[out] = checked_product("q", {batch, shape.heads, shape.head_dim, element});
    bytes_[k_pages] = bytes_[v_pages] =
        checked_product("k_pages", {pages_, shape.page_size, shape.kv_heads, shape.head_dim, element});
    bytes_[page_table] = checked_product("page_table", {batch, table_width_, sizeof(std::int32_t)});
    bytes_[seqlens] = checked_product("seqlens", {batch, sizeof(std::int32_t)});
    if (shape.splits > 1) {
      bytes_[split_lse] = checked_product("split_lse", {shape.splits, batch, shape.heads, sizeof(float)});
      bytes_[split_out] = checked_product("split_out", {bytes_[split_lse], shape.head_dim});
    }
  }

  /// Shapes for tests: every type, head_dim and kind of page, with the rest going round.
  static std::vector<Shape> cases() {
    const std::vector<std::size_t> lengths[] = {{1, 3, 17, 0}, {33, 113, 65}, {64, 0, 128, 2}, {0}};
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16"}) {
      for (const std::size_t head_dim : {64, 128}) {
        for (const std::size_t page_size : {1, 3, 16}) {
          for (const std::size_t splits : {1, 2, 5}) {
            const std::size_t turn = made.size();
            const std::size_t group = std::array{1, 4, 7, 20, 4}[turn % 5], kv_heads = group > 4 ? 1 : 2;
            made.push_back({.type = type,
                            .seqlens = lengths[turn % 4],
                            .page_size = page_size,
                            .pages = turn % 2 == 0 ? 0u : 300u,
                            .splits = splits,
                            .heads = group * kv_heads,
                            .kv_heads = kv_heads,
                            .head_dim = head_dim});
          }
        }
      }
    }
    return made;
  }

  const Shape& shape() const { return shape_; }
  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    std::vector<Part> parts;
    for (std::size_t i = 0; i < part_count; ++i) {
      const auto role = i < out ? Part::Role::input : i == out ? Part::Role::output : Part::Role::workspace;
      const bool payload = i != page_table && i != seqlens;
      parts.push_back({.name = part_names[i], .bytes = bytes_[i], .role = role, .payload = payload});
    }
    return parts;
  }

  /// Pages are given out in a random order. Slots past a sequence's end, and pages of nobody, hold NaN.
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override {
    if (index == page_table) {
      fill_integers(table(seed), to);
    } else if (index == seqlens) {
      fill_integers(std::vector<std::int32_t>(shape_.seqlens.begin(), shape_.seqlens.end()), to);
    } else {
      fill_normal(shape_.type, seed, index, to);
      if (index == k_pages || index == v_pages) spoil_unused_slots(seed, to);
    }
  }

  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override {
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
    return {};
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return with_variant<64, 128>(shape_.type, shape_.head_dim, [&](auto element, auto head_dim) {
      return launch_as<decltype(element), head_dim()>(device, stream, parts);
    });
  }

  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const std::size_t batch = s.seqlens.size();
    const HostTensor queries(parts[q], s.type, {batch, s.heads, s.head_dim});
    const HostTensor keys(parts[k_pages], s.type, {pages_, s.page_size, s.kv_heads, s.head_dim});
    const HostTensor values(parts[v_pages], s.type, {pages_, s.page_size, s.kv_heads, s.head_dim});
    const HostTensor pages(parts[page_table], "int32", {batch, table_width_});
    const HostTensor lengths(parts[seqlens], "int32", {batch});
    const HostTensor got(parts[out], s.type, {batch, s.heads, s.head_dim});
    Judge judge(norm_limit(s.type));
    for (std::size_t b = 0; b < batch; ++b) {
      for (std::size_t h = 0; h < s.heads; ++h) {
        AttentionOracle oracle(s.head_dim, unit_roundoff(s.type));
        const std::size_t group = h / (s.heads / s.kv_heads);
        const auto length = static_cast<std::size_t>(lengths.at({b}));
        std::size_t page = 0, slot = 0;
        for (std::size_t j = 0; j < length; ++j) {
          const auto place = static_cast<std::size_t>(pages.at({b, page}));
          oracle.push(keys.row({place, slot, group}), values.row({place, slot, group}));
          if (++slot == s.page_size) ++page, slot = 0;
        }
        const auto answer = oracle.ask(queries.row({b, h}), length);
        for (std::size_t d = 0; d < s.head_dim; ++d) {
          judge.take(got.at({b, h, d}), answer.out[d], answer.tolerance[d], [&] {
            return "out[" + std::to_string(b) + "][" + std::to_string(h) + "][" + std::to_string(d) + "]";
          });
        }
      }
    }
    return judge.verdict();
  }

  double flops() const override {
    double tokens = 0;
    for (const std::size_t length : shape_.seqlens) tokens += static_cast<double>(length);
    return 4 * tokens * static_cast<double>(shape_.heads * shape_.head_dim);
  }

 private:
  /// -1 where a sequence has no page.
  std::vector<std::int32_t> table(std::uint64_t seed) const {
    const auto order = permutation(pages_, seed);
    std::vector<std::int32_t> entries(shape_.seqlens.size() * table_width_, -1);
    std::size_t given = 0;
    for (std::size_t b = 0; b < shape_.seqlens.size(); ++b)
      for (std::size_t p = 0; p * shape_.page_size < shape_.seqlens[b]; ++p)
        entries[b * table_width_ + p] = order[given++];
    return entries;
  }

  void spoil_unused_slots(std::uint64_t seed, std::span<std::byte> pool) const {
    std::vector<std::size_t> used(pages_, 0);
    const auto entries = table(seed);
    for (std::size_t b = 0; b < shape_.seqlens.size(); ++b)
      for (std::size_t p = 0; p * shape_.page_size < shape_.seqlens[b]; ++p)
        used[static_cast<std::size_t>(entries[b * table_width_ + p])] =
            std::min(shape_.page_size, shape_.seqlens[b] - p * shape_.page_size);
    const std::size_t slot_bytes = shape_.kv_heads * shape_.head_dim * element_bytes(shape_.type);
    for (std::size_t page = 0; page < pages_; ++page) {
      const auto slots = pool.subspan(page * shape_.page_size * slot_bytes, shape_.page_size * slot_bytes);
      std::ranges::fill(slots.subspan(used[page] * slot_bytes), std::byte{0xff});
    }
  }

  Operand operand(std::span<void* const> parts, PartIndex part, Access access) const {
    return {part_names[part], parts[part], bytes_[part], access};
  }

  template <typename T>
  DecodeArguments<T> arguments_for(std::span<void* const> parts) const {
    return {.q = static_cast<const T*>(parts[q]),
            .k = static_cast<const T*>(parts[k_pages]),
            .v = static_cast<const T*>(parts[v_pages]),
            .page_table = static_cast<const std::int32_t*>(parts[page_table]),
            .seqlens = static_cast<const std::int32_t*>(parts[seqlens]),
            .out = static_cast<T*>(parts[out]),
            .split_out = static_cast<float*>(parts[split_out]),
            .split_lse = static_cast<float*>(parts[split_lse]),
            .batch = static_cast<int>(shape_.seqlens.size()),
            .heads = static_cast<int>(shape_.heads),
            .kv_heads = static_cast<int>(shape_.kv_heads),
            .page_size = static_cast<int>(shape_.page_size),
            .table_width = static_cast<int>(table_width_),
            .splits = static_cast<int>(shape_.splits),
            .scale_log2 = scale_log2_of(shape_.head_dim)};
  }

  template <typename T, int head_dim>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    using Block = DecodeBlock<T, head_dim>;
    const DecodeArguments<T> arguments = arguments_for<T>(parts);
    const bool splits = shape_.splits > 1;
    std::vector<Operand> operands;
    for (const PartIndex part : {q, k_pages, v_pages, page_table, seqlens})
      operands.push_back(operand(parts, part, Access::read));
    if (splits) {
      operands.push_back(operand(parts, split_out, Access::write));
      operands.push_back(operand(parts, split_lse, Access::write));
    } else {
      operands.push_back(operand(parts, out, Access::write));
    }
    const auto group = shape_.heads / shape_.kv_heads;
    const auto row_tiles = (group + tile_rows - 1) / tile_rows;
    const auto batch = static_cast<unsigned>(shape_.seqlens.size());
    Bodies bodies = bodies_of<DecodeVariants, Block>();
    const Status status = device.launch({.kernel = kernel_name,
                                         .grid = {static_cast<unsigned>(shape_.splits),
                                                  static_cast<unsigned>(shape_.kv_heads * row_tiles), batch},
                                         .block = {Block::threads_max},
                                         .shared_bytes = Block::Tiles::bytes,
                                         .stream = stream,
                                         .operands = operands,
                                         .arguments = &arguments,
                                         .arguments_bytes = sizeof arguments,
                                         .host = bodies.host,
                                         .cuda = bodies.cuda});
    if (status != Status::success || !splits) return status;
    using Combine = DecodeCombine<T, head_dim>;
    bodies = bodies_of<DecodeVariants, Combine>();
    const Operand combined[] = {operand(parts, split_out, Access::read),
                                operand(parts, split_lse, Access::read), operand(parts, out, Access::write)};
    return device.launch({.kernel = "decode_attention_combine",
                          .grid = {static_cast<unsigned>(shape_.heads), batch},
                          .block = {Combine::threads_max},
                          .stream = stream,
                          .operands = combined,
                          .arguments = &arguments,
                          .arguments_bytes = sizeof arguments,
                          .host = bodies.host,
                          .cuda = bodies.cuda});
  }

  Shape shape_;
  std::size_t table_width_ = 0, pages_used_ = 0, pages_ = 0;
  std::array<std::size_t, part_count> bytes_{};
};

}  // namespace drought
