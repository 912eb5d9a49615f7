// Attention of one new token of each sequence over its cached keys, which lie in pages of any size that a
// page table names: what a server runs for every generated token. The cache may be quantised, and is read as
// it is. Sequences are cut into pieces for several blocks (decode_pieces.hpp), each of which leaves a partial
// result and its logarithm of the weights' sum in the workspace, where they are combined. A sequence of
// length 0 gives zeros.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/decode_pieces.hpp"
#include "kernels/kv_cache.hpp"

namespace drought {

class DecodeAttention final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::string cache;                               ///< Type of K and V; empty: as `type`.
    std::vector<std::size_t> seqlens = {17, 0, 33};  ///< Cached tokens of each sequence.
    std::size_t page_size = 16;                      ///< Tokens of a page.
    std::size_t pages = 0;                           ///< Of the pool; 0: as many as the sequences fill.
    /// Pieces of every sequence. 0: equal parts of the whole batch, by a schedule that is an input.
    std::size_t splits = 1;
    std::size_t parts = 0;          ///< Of the batch, where splits is 0; 0: one for each block an H200 runs.
    std::size_t heads_at_once = 0;  ///< KV heads that a block takes together; 0: what suits the batch.
    std::size_t heads = 4, kv_heads = 1;
    std::size_t head_dim = 64;
    std::size_t value_dim = 0;  ///< Elements of a value; 0: head_dim.
    bool latent = false;        ///< The first value_dim elements of a row of K are V, and there is no other.
    double scale = 0;           ///< Of a product of query and key; 0: 1 / sqrt(head_dim).
    std::size_t window = 0;     ///< The newest tokens that are seen; 0: all.
    double softcap = 0;         ///< Scores are squeezed between it and its negative; 0: they are not.
    bool sinks = false;         ///< Each head has a score that takes weight and gives no value.
    double k_scale = 1, v_scale = 1;  ///< Of everything in a cache of fp8_e4m3.
    /// Which body runs on a GPU: "hopper", "portable", or "best", the first of them that the shape and the
    /// chip allow. Simulated threads run the portable one.
    std::string body = "best";
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),         key("cache", &Shape::cache),
                        key("seqlens", &Shape::seqlens),   key("page_size", &Shape::page_size),
                        key("pages", &Shape::pages),       key("splits", &Shape::splits),
                        key("parts", &Shape::parts),       key("heads_at_once", &Shape::heads_at_once),
                        key("heads", &Shape::heads),       key("kv_heads", &Shape::kv_heads),
                        key("head_dim", &Shape::head_dim), key("value_dim", &Shape::value_dim),
                        key("latent", &Shape::latent),     key("scale", &Shape::scale),
                        key("window", &Shape::window),     key("softcap", &Shape::softcap),
                        key("sinks", &Shape::sinks),       key("k_scale", &Shape::k_scale),
                        key("v_scale", &Shape::v_scale),   key("body", &Shape::body)};
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
    k_scales,
    v_scales,
    sinks,
    schedule,
    arrivals,
    part_count
  };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit DecodeAttention(const Shape& shape);

  /// Shapes for tests: every type, cache, head_dim and kind of page, with the rest going round.
  static std::vector<Shape> cases();

  const Shape& shape() const { return shape_; }
  std::string_view name() const override { return kernel_name; }
  std::vector<Part> plan() const override;
  /// Pages are given out in a random order. Slots past a sequence's end, and pages of nobody, hold NaN.
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override;
  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override;
  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override;
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override;
  double flops() const override;
  /// Bytes of K and V that the sequences fill.
  double kv_bytes() const;

 private:
  void check_shape();
  void choose_cut();
  void count_pages();
  void count_bytes();
  std::size_t groups() const { return shape_.kv_heads / shape_.heads_at_once; }
  std::size_t units() const { return shape_.seqlens.size() * groups(); }
  std::size_t first_visible(std::size_t length) const;
  std::vector<std::int32_t> table(std::uint64_t seed) const;
  std::vector<std::int32_t> schedule_of(std::span<const std::int32_t> lengths) const;
  void store_rows(std::size_t index, std::uint64_t seed, std::span<std::byte> rows,
                  std::span<std::byte> scales) const;
  void spoil_unused_slots(std::size_t row_bytes, std::uint64_t seed, std::span<std::byte> pool) const;
  DecodeArguments arguments_for(std::span<void* const> parts) const;
  enum class Pass : std::uint8_t { split, combine, both };
  std::vector<Operand> operands_of(std::span<void* const> parts, Pass pass) const;

  Shape shape_;
  KvType cache_{};
  std::size_t table_width_ = 0, pages_used_ = 0, pages_ = 0, slots_ = 0;
  std::array<std::size_t, part_count> bytes_{};
  std::uint64_t hopper_ = 0;  ///< Its variant of Hopper's body; 0: none.
};

}  // namespace drought
