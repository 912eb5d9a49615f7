// The language models that auto-profile sizes a cache for, as far as memory goes. Shapes are those of the
// models' public configuration files; weights and bytes per token follow from them.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace drought {

/// One model, or the share of it that a rank of a tensor-parallel group holds.
struct Model {
  std::string_view name;
  std::string_view type;  ///< "bf16" or "fp32": weights, activations and cache.
  std::size_t layers = 0, hidden = 0, ffn = 0, vocab = 0;
  std::size_t heads = 0, kv_heads = 0, head_dim = 0;
  bool qkv_bias = false, qk_norm = false;

  std::size_t element_bytes() const { return type == "fp32" ? 4 : 2; }
  /// Keys (or values) of one token in one layer.
  std::size_t row_bytes() const { return kv_heads * head_dim * element_bytes(); }
  /// Keys and values of one token in all layers.
  std::size_t cell_bytes() const { return 2 * layers * row_bytes(); }
  /// Input and output embeddings are two matrices.
  std::size_t parameters() const;
  std::size_t weight_bytes() const { return parameters() * element_bytes(); }

  /// A rank's share: heads, MLP and vocabulary divided by `ranks`. Throws std::invalid_argument when the
  /// heads do not divide.
  Model share_of(std::size_t ranks) const;
};

std::span<const Model> models();

/// Throws std::invalid_argument that names the known models.
const Model& model_named(std::string_view name);

}  // namespace drought
