// Attention of a chunk of new tokens over a cached prefix and themselves: what a server runs when it takes a
// prompt in, whole (prefix 0) or in chunks. Causal or not, grouped queries, contiguous K and V that hold the
// prefix and the chunk. A block is four warps, 64 queries of one head.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/attention.hpp"
#include "kernels/oracle.hpp"
#include "kernels/prefill_arguments.hpp"
#include "kernels/shape.hpp"
#include "kernels/sm90/bodies.hpp"

namespace drought {

template <typename T, int head_dim>
struct PrefillBlock {
  static constexpr int warps = 4;
  static constexpr unsigned threads_max = warps * warp_lanes;
  using Arguments = PrefillArguments<T>;
  using Tiles = AttentionTiles<T, head_dim, warps>;

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Arguments& given) {
    const int first_query = static_cast<int>(context.block().x) * Tiles::rows;
    const std::size_t head = context.block().y, batch = context.block().z;
    const std::size_t kv_head = head / static_cast<std::size_t>(given.heads / given.kv_heads);
    const auto query_start = [&](int row) {
      const std::size_t token =
          batch * static_cast<std::size_t>(given.queries) + static_cast<std::size_t>(row);
      return (token * static_cast<std::size_t>(given.heads) + head) * head_dim;
    };
    const auto query_at = [&](int row) {
      const bool valid = first_query + row < given.queries;
      return GlobalRow{valid ? query_start(first_query + row) : 0, valid};
    };
    const auto key_at = [&](int key) {
      const std::size_t token = batch * static_cast<std::size_t>(given.keys) + static_cast<std::size_t>(key);
      return (token * static_cast<std::size_t>(given.kv_heads) + kv_head) * head_dim;
    };
    const auto limit_of = [&](int query) {
      return given.causal ? given.keys - given.queries + query + 1 : given.keys;
    };
    const auto last_below = [&](int row) { return row < given.queries ? row : given.queries - 1; };
    const int own = first_query + context.warp() * tile_rows;
    const int rows[2] = {own + context.lane() / 4, own + context.lane() / 4 + 8};
    AttentionRange range;
    range.begin = 0;
    range.end = limit_of(last_below(first_query + Tiles::rows - 1));
    for (int r = 0; r < 2; ++r) range.limit[r] = rows[r] < given.queries ? limit_of(rows[r]) : 0;
    range.warp_limit = own < given.queries ? limit_of(last_below(own + tile_rows - 1)) : 0;
    range.scale_log2 = given.scale_log2;

    AttentionSums<head_dim> sums;
    attend<T, head_dim, warps>(context, context.global(given.q), context.global(given.k),
                               context.global(given.v), query_at, key_at, range, sums);

    const auto out = context.global(given.out);
    DROUGHT_UNROLL
    for (int t = 0; t < head_dim / 8; ++t) {
      DROUGHT_UNROLL
      for (int e = 0; e < 4; ++e) {
        if (rows[e / 2] >= given.queries) continue;
        const auto column = static_cast<std::size_t>(Fragment<head_dim>::column(context.lane(), t, e));
        out[query_start(rows[e / 2]) + column] = from_float<T>(sums.normalized(t, e));
      }
    }
  }
};

using PrefillVariants = Variants<PrefillBlock<float, 64>, PrefillBlock<float, 128>, PrefillBlock<bf16, 64>,
                                 PrefillBlock<bf16, 128>>;

class PrefillAttention final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t batch = 1;
    std::size_t queries = 33;  ///< New tokens of each sequence.
    std::size_t prefix = 0;    ///< Tokens before them that K and V hold too.
    std::size_t heads = 4, kv_heads = 1;
    std::size_t head_dim = 64;
    bool causal = true;
    /// Which body runs on a GPU: "hopper", "portable", or "best", the first of them that the shape and the
    /// chip allow. Simulated threads run the portable one.
    std::string body = "best";
    static constexpr auto keys() {
      return std::tuple{
          key("type", &Shape::type),         key("batch", &Shape::batch),   key("queries", &Shape::queries),
          key("prefix", &Shape::prefix),     key("heads", &Shape::heads),   key("kv_heads", &Shape::kv_heads),
          key("head_dim", &Shape::head_dim), key("causal", &Shape::causal), key("body", &Shape::body)};
    }
  };

  using Options = Shape;

  static constexpr std::string_view kernel_name = "prefill_attention";
  static constexpr std::string_view summary =
      "attention of new tokens over a contiguous prefix and themselves";

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit PrefillAttention(const Shape& shape) : shape_(shape) {
    constexpr std::array<std::size_t, 2> head_dims{64, 128};
    require_heads(shape.type, shape.head_dim, head_dims, shape.heads, shape.kv_heads);
    require(shape.batch > 0 && shape.queries > 0, "batch and queries must not be 0");
    require(shape.batch <= grid_rows_max, "batch is more than a grid's 65535");
    require(shape.queries <= tokens_max && shape.prefix <= tokens_max - shape.queries,
            "prefix and queries are more than 2^30 tokens");
    require(shape.body == "best" || shape.body == "hopper" || shape.body == "portable",
            "unknown body '" + shape.body + "'; known: best, hopper, portable");
    hopper_ = shape.body != "portable" && shape.type == "bf16" &&
              sm90::has_prefill(static_cast<int>(shape.head_dim));
    require(hopper_ || shape.body != "hopper", "the hopper body takes bf16 with head_dim 64 or 128");
    element_bytes_ = element_bytes(shape.type);
    query_bytes_ = checked_product("q of prefill_attention",
                                   {shape.batch, shape.queries, shape.heads, shape.head_dim, element_bytes_});
    key_bytes_ = checked_product("k of prefill_attention", {shape.batch, shape.prefix + shape.queries,
                                                            shape.kv_heads, shape.head_dim, element_bytes_});
  }

  /// Shapes for tests: every type and head_dim at odd lengths, with the rest going round.
  static std::vector<Shape> cases() {
    std::vector<Shape> made;
    for (const char* const type : {"fp32", "bf16"}) {
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
    }
    return made;
  }

  const Shape& shape() const { return shape_; }
  std::string_view name() const override { return kernel_name; }

  std::vector<Part> plan() const override {
    return {{.name = "q", .bytes = query_bytes_},
            {.name = "k", .bytes = key_bytes_},
            {.name = "v", .bytes = key_bytes_},
            {.name = "out", .bytes = query_bytes_, .role = Part::Role::output},
            {.name = "next_tile",
             .bytes = hopper_ ? sizeof(unsigned) : 0,
             .role = Part::Role::workspace,
             .zeroed = true,
             .payload = false}};
  }

  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> out) const override {
    fill_normal(shape_.type, seed, index, out);
  }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    const bool is_hopper = device.profile().shared_bytes_max >= sm90::prefill_shared_bytes;
    if (hopper_ && (is_hopper || shape_.body == "hopper")) return launch_hopper(device, stream, parts);
    return with_variant<64, 128>(shape_.type, shape_.head_dim, [&](auto element, auto head_dim) {
      return launch_as<decltype(element), head_dim()>(device, stream, parts);
    });
  }

  Comparison compare(std::span<const std::span<const std::byte>> parts) const override {
    const Shape& s = shape_;
    const std::size_t keys = s.prefix + s.queries;
    const HostTensor q(parts[0], s.type, {s.batch, s.queries, s.heads, s.head_dim});
    const HostTensor k(parts[1], s.type, {s.batch, keys, s.kv_heads, s.head_dim});
    const HostTensor v(parts[2], s.type, {s.batch, keys, s.kv_heads, s.head_dim});
    const HostTensor out(parts[3], s.type, {s.batch, s.queries, s.heads, s.head_dim});
    Judge judge(norm_limit(s.type));
    for (std::size_t b = 0; b < s.batch; ++b) {
      for (std::size_t h = 0; h < s.heads; ++h) {
        AttentionOracle oracle(s.head_dim, unit_roundoff(s.type));
        const std::size_t group = h / (s.heads / s.kv_heads);
        for (std::size_t j = 0; j < keys; ++j) oracle.push(k.row({b, j, group}), v.row({b, j, group}));
        for (std::size_t i = 0; i < s.queries; ++i) {
          const auto answer = oracle.ask(q.row({b, i, h}), s.causal ? s.prefix + i + 1 : keys);
          for (std::size_t d = 0; d < s.head_dim; ++d) {
            judge.take(out.at({b, i, h, d}), answer.out[d], answer.tolerance[d], [&] {
              return "out[" + std::to_string(b) + "][" + std::to_string(i) + "][" + std::to_string(h) + "][" +
                     std::to_string(d) + "]";
            });
          }
        }
      }
    }
    return judge.verdict();
  }

  double flops() const override {
    const double queries = static_cast<double>(shape_.queries), prefix = static_cast<double>(shape_.prefix);
    const double pairs = queries * prefix + (shape_.causal ? queries * (queries + 1) / 2 : queries * queries);
    return 4 * pairs * static_cast<double>(shape_.batch * shape_.heads * shape_.head_dim);
  }

 private:
  template <typename T>
  PrefillArguments<T> arguments_of(std::span<void* const> parts) const {
    return {.q = static_cast<const T*>(parts[0]),
            .k = static_cast<const T*>(parts[1]),
            .v = static_cast<const T*>(parts[2]),
            .out = static_cast<T*>(parts[3]),
            .queries = static_cast<int>(shape_.queries),
            .keys = static_cast<int>(shape_.prefix + shape_.queries),
            .heads = static_cast<int>(shape_.heads),
            .kv_heads = static_cast<int>(shape_.kv_heads),
            .scale_log2 = scale_log2_of(shape_.head_dim),
            .causal = shape_.causal};
  }

  std::array<Operand, 5> operands_of(std::span<void* const> parts) const {
    return {{{"q", parts[0], query_bytes_, Access::read},
             {"k", parts[1], key_bytes_, Access::read},
             {"v", parts[2], key_bytes_, Access::read},
             {"out", parts[3], query_bytes_, Access::write},
             {"next_tile", parts[4], hopper_ ? sizeof(unsigned) : 0, Access::read_write}}};
  }

  /// The portable blocks over `arguments`; the rest of the launch is as in `outer`.
  template <typename T, int head_dim>
  static Launch portable(const PrefillArguments<T>& arguments, int batch, const Launch& outer) {
    using Block = PrefillBlock<T, head_dim>;
    const Bodies bodies = bodies_of<PrefillVariants, Block>();
    const auto blocks = (arguments.queries + Block::Tiles::rows - 1) / Block::Tiles::rows;
    Launch launch = outer;
    launch.grid = {static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.heads),
                   static_cast<unsigned>(batch)};
    launch.block = {Block::threads_max};
    launch.shared_bytes = Block::Tiles::bytes;
    launch.arguments = &arguments;
    launch.arguments_bytes = sizeof arguments;
    launch.host = bodies.host;
    launch.cuda = bodies.cuda;
    return launch;
  }

  template <typename T, int head_dim>
  Status launch_as(Device& device, Stream stream, std::span<void* const> parts) const {
    const PrefillArguments<T> arguments = arguments_of<T>(parts);
    const auto operands = operands_of(parts);
    return device.launch(
        portable<T, head_dim>(arguments, static_cast<int>(shape_.batch),
                              {.kernel = kernel_name, .stream = stream, .operands = operands}));
  }

  Status launch_hopper(Device& device, Stream stream, std::span<void* const> parts) const {
    const sm90::PrefillArguments arguments{.of = arguments_of<bf16>(parts),
                                           .batch = static_cast<int>(shape_.batch),
                                           .head_dim = static_cast<int>(shape_.head_dim),
                                           .next_tile = static_cast<unsigned*>(parts[4])};
    const auto operands = operands_of(parts);
    return device.launch({.kernel = kernel_name,
                          .grid = {static_cast<unsigned>(device.profile().sm_count)},
                          .block = {sm90::prefill_threads},
                          .shared_bytes = sm90::prefill_shared_bytes,
                          .stream = stream,
                          .operands = operands,
                          .arguments = &arguments,
                          .arguments_bytes = sizeof arguments,
                          .host = shape_.head_dim == 64 ? run_portable<64> : run_portable<128>,
                          .cuda = sm90::prefill_body});
  }

  /// The hopper launch as simulated threads run it: the portable blocks over the same operands.
  template <int head_dim>
  static Status run_portable(const Launch& hopper) {
    sm90::PrefillArguments given;
    std::memcpy(&given, hopper.arguments, sizeof given);
    const Launch launch = portable<bf16, head_dim>(given.of, given.batch, hopper);
    return launch.host(launch);
  }

  Shape shape_;
  bool hopper_ = false;
  std::size_t element_bytes_ = 0, query_bytes_ = 0, key_bytes_ = 0;
};

}  // namespace drought
