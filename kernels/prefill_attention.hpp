// Attention of a chunk of new tokens over a cached prefix and themselves: what a server runs when it takes
// prompts in, whole (prefix 0) or in chunks, of one length or packed by cu_seqlens. Causal, full or within a
// window; grouped queries; a soft cap on the scores and sinks as the models that have them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/oracle.hpp"
#include "kernels/prefill_block.hpp"
#include "kernels/shape.hpp"
#include "kernels/sm90/bodies.hpp"

namespace drought {

class PrefillAttention final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";
    std::size_t batch = 1;
    std::size_t queries = 33;  ///< New tokens of each sequence.
    std::size_t prefix = 0;    ///< Tokens before them that K and V hold too.
    /// Where the queries and the keys of sequences of several lengths begin, and their totals; given
    /// together, in place of batch, queries and prefix. The last query of a sequence stands at its last key.
    std::vector<std::size_t> cu_seqlens_q = {}, cu_seqlens_k = {};
    std::size_t heads = 4, kv_heads = 1;
    std::size_t head_dim = 64;
    std::size_t value_dim = 0;  ///< Elements of a value; 0: as many as of a key.
    bool causal = true;
    /// Keys that a query sees before its own and, unless causal, after it.
    std::size_t window_left = tokens_max, window_right = tokens_max;
    double softcap = 0;  ///< Scores become softcap * tanh(score / softcap); 0: they stay.
    bool sinks = false;  ///< One more score for each head, which takes weight and gives no value.
    /// Which body runs on a GPU: "hopper", "portable", or "best", the first of them that the shape and the
    /// chip allow. Simulated threads run the portable one. A NaN or an infinity among the values reaches the
    /// rows that see its key and no other; with "hopper" it may reach all rows of the tiles that it is in.
    std::string body = "best";
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),
                        key("batch", &Shape::batch),
                        key("queries", &Shape::queries),
                        key("prefix", &Shape::prefix),
                        key("cu_seqlens_q", &Shape::cu_seqlens_q),
                        key("cu_seqlens_k", &Shape::cu_seqlens_k),
                        key("heads", &Shape::heads),
                        key("kv_heads", &Shape::kv_heads),
                        key("head_dim", &Shape::head_dim),
                        key("value_dim", &Shape::value_dim),
                        key("causal", &Shape::causal),
                        key("window_left", &Shape::window_left),
                        key("window_right", &Shape::window_right),
                        key("softcap", &Shape::softcap),
                        key("sinks", &Shape::sinks),
                        key("body", &Shape::body)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "prefill_attention";
  static constexpr std::string_view summary =
      "attention of new tokens over a contiguous prefix and themselves";
  enum PartIndex : std::size_t { q, k, v, out, next_tile, cu_seqlens_q, cu_seqlens_k, sinks, part_count };
  static constexpr std::array<std::string_view, part_count> part_names{
      "q", "k", "v", "out", "next_tile", "cu_seqlens_q", "cu_seqlens_k", "sinks"};

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit PrefillAttention(const Shape& shape);

  /// Shapes for tests, small enough for simulated threads.
  static std::vector<Shape> cases();

  const Shape& shape() const { return shape_; }
  std::string_view name() const override { return kernel_name; }
  std::vector<Part> plan() const override;
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override;
  /// The grid was made for the shape's longest sequence, so the input must be the shape's own.
  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override;
  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    return launch_as(kernel_name, device, stream, parts);
  }
  /// The same under the name of a kernel that is a case of this one.
  Status launch_as(std::string_view name, Device& device, Stream stream, std::span<void* const> parts) const;
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override;
  /// Counts what queries see, whatever a body computes beyond it.
  double flops() const override;

  /// What the oracle answers to every row of every head.
  using AnswerTaker =
      std::function<void(std::size_t query, std::size_t head, const AttentionOracle::Answer& answer)>;
  void answers(std::span<const std::span<const std::byte>> parts, const AnswerTaker& take) const;

  /// What a body is given, of the type that the shape names.
  template <typename T>
  PrefillArguments<T> arguments_of(std::span<void* const> parts) const;

  /// One sequence of the batch.
  PrefillSequence sequence(std::size_t at) const;
  std::size_t sequences() const { return packed() ? shape_.cu_seqlens_q.size() - 1 : shape_.batch; }
  /// Of the output: every query of every head.
  std::size_t rows() const;
  /// Elements of a value.
  std::size_t value_dim() const { return shape_.value_dim == 0 ? shape_.head_dim : shape_.value_dim; }
  /// What a query sees on either side of its own key.
  int left() const { return static_cast<int>(shape_.window_left); }
  int right() const { return shape_.causal ? 0 : static_cast<int>(shape_.window_right); }

 private:
  bool packed() const { return !shape_.cu_seqlens_q.empty(); }
  std::size_t total_queries() const {
    return packed() ? shape_.cu_seqlens_q.back() : shape_.batch * shape_.queries;
  }
  std::size_t total_keys() const {
    return packed() ? shape_.cu_seqlens_k.back() : shape_.batch * (shape_.prefix + shape_.queries);
  }
  void require_sequences();

  template <typename Variant>
  static Launch portable(const PrefillArguments<typename Variant::Number>& arguments, const Launch& outer);
  template <typename Variant>
  static Status run_portable(const Launch& hopper);
  template <typename Variant>
  Status launch_hopper(Device& device, const Launch& outer, std::span<void* const> parts) const;

  Shape shape_;
  bool hopper_ = false;
  std::size_t longest_queries_ = 0, longest_keys_ = 0;
  std::array<std::size_t, part_count> bytes_{};
};

}  // namespace drought
