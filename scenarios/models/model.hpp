// A model as far as memory goes: the shapes of its public configuration file (config.json as Hugging Face
// publishes it), and what follows from them: parameters, bytes of weights, of a token in the cache, of a
// sequence's state. Dense decoders with grouped queries, mixtures of experts, latent attention (DeepSeek),
// linear attention (gated delta rule), and the vision towers before them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/rope.hpp"

namespace drought {

/// Of a layer whose MLP is a mixture of experts. `routed` 0: none is.
struct Experts {
  std::size_t routed = 0, per_token = 0;
  std::size_t ffn = 0;         ///< Of one expert.
  std::size_t shared_ffn = 0;  ///< Of the expert that every token goes through; 0: none.
  bool shared_gate = false;    ///< The shared expert's output has a gate of its own.
  bool router_bias = false;
  std::size_t dense_layers = 0;  ///< The first layers, which have a plain MLP.
};

/// Multi-head latent attention (DeepSeek-V2): a token's cache is one row of kv_rank + rope_dim elements for
/// all heads. `kv_rank` 0: attention is plain.
struct Latent {
  std::size_t q_rank = 0, kv_rank = 0, nope_dim = 0, rope_dim = 0, value_dim = 0;
};

/// Linear attention in all layers but every `interval`th: a state of fixed size in place of a cache.
/// `interval` 0: every layer attends in full.
struct LinearAttention {
  std::size_t interval = 0, key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, kernel = 0;

  std::size_t keys() const { return key_heads * key_dim; }
  std::size_t values() const { return value_heads * value_dim; }
  /// Channels of the convolution: queries, keys and values.
  std::size_t channels() const { return 2 * keys() + values(); }
};

/// The tower that turns an image's patches into tokens. `layers` 0: there is none.
struct VisionTower {
  std::size_t layers = 0, hidden = 0, heads = 0, ffn = 0;
  std::size_t patch_values = 0;  ///< Of one patch as the tower takes it: channels, frames and pixels.
  std::size_t merge = 1;         ///< merge x merge patches become a token.
  std::size_t window = 0;        ///< Patches along a side of an attention window; 0: attention is full.
  std::vector<std::size_t> full_layers;  ///< That attend in full where others have windows.
  std::vector<std::size_t> taps;         ///< Layers whose output a merger of its own makes tokens of as well.
  std::size_t positions = 0;             ///< Learned positions; a class token is one of them.
  bool gated = false;                    ///< RMSNorm and a gated SiLU, else LayerNorm and GELU.
  bool patch_bias = false, class_token = false, layer_scale = false;
  std::size_t out = 0;       ///< The decoder's hidden size.
  std::size_t merged = 0;    ///< Width between the merger's two layers.
  bool merged_norm = false;  ///< The merger's norm comes after merging.
  bool rotates = false;      ///< Queries and keys are turned by the patch's row and column.

  std::size_t head_dim() const { return hidden / heads; }
  std::size_t parameters() const;
  /// Most that lives at once while `patches` go through one layer with attention that keeps no scores, in
  /// 2-byte elements: pixels, hidden states, and the larger of queries, keys and values with their rotated
  /// copies in fp32, or the MLP. 65,536 patches of Qwen2.5-VL: 147 + 160 MiB, then 480 + 640 MiB or 855 MiB.
  std::size_t activation_bytes(std::size_t patches) const;
};

/// One model, or the share of it that a rank of a tensor-parallel group holds.
struct Model {
  std::string name;
  std::string type;          ///< "bf16" or "fp32": activations, cache and weights, but
  bool fp8_weights = false;  ///< matrices of linear layers are fp8 with an fp32 scale a block of 128 x 128.
  std::size_t layers = 0, hidden = 0, ffn = 0, vocab = 0;
  std::size_t heads = 0, kv_heads = 0, head_dim = 0;
  bool qkv_bias = false, qk_norm = false;
  bool output_gate = false;      ///< The query projection makes a gate for attention's output as well.
  bool tied_embeddings = false;  ///< The output embedding is the input's.
  double norm_epsilon = 1e-6;
  Rope::Shape rope;          ///< How queries and keys are turned; tokens and heads are a launch's own.
  std::string unknown_rope;  ///< A rope scaling that no kernel computes: the shape is right, the angles not.
  Experts experts;
  Latent latent;
  LinearAttention linear;
  VisionTower vision;

  std::size_t element_bytes() const { return type == "fp32" ? 4 : 2; }
  bool attends_in_full(std::size_t layer) const {
    return linear.interval == 0 || layer % linear.interval == linear.interval - 1;
  }
  bool has_experts(std::size_t layer) const { return experts.routed != 0 && layer >= experts.dense_layers; }
  std::size_t cached_layers() const { return linear.interval == 0 ? layers : layers / linear.interval; }

  /// Keys (or values) of one token in one layer; with latent attention the one row that it has.
  std::size_t row_bytes() const;
  /// What the cache holds of one token in all layers.
  std::size_t cell_bytes() const;
  /// What one sequence has besides, whatever its length: the linear layers' states and the last inputs of
  /// their convolutions, in fp32 as llama.cpp keeps them (62.81 MiB of Qwen3.6-35B-A3B).
  std::size_t state_bytes() const;
  /// Of the language model. Those of the tower are its own.
  std::size_t parameters() const;
  /// Of the language model.
  std::size_t weight_bytes() const;

  /// A rank's share: heads, MLP, experts and vocabulary divided by `ranks`. Throws std::invalid_argument
  /// when they do not divide.
  Model share_of(std::size_t ranks) const;
};

/// A matrix or vector of a model's weights.
struct WeightMatrix {
  static constexpr std::size_t no_layer = SIZE_MAX;  ///< For what lies before and after the layers.
  std::string_view name;                             ///< "q", "gate"; of static storage.
  std::size_t layer = no_layer;
  std::size_t rows = 1, columns = 1;
  enum class Kind : std::uint8_t { matrix, embedding, norm, bias } kind = Kind::matrix;

  std::size_t elements() const { return rows * columns; }
  std::size_t bytes(const Model& model) const;
};

/// Every one of the language model, in the order in which they are loaded. A layer's experts are two.
std::vector<WeightMatrix> weight_matrices(const Model& model);
/// Every one of the tower. Those of the merger with number i are of layer i; the last makes the tokens.
std::vector<WeightMatrix> weight_matrices(const VisionTower& tower);

/// The models that come with drought: every file in scenarios/models/configs, by its name.
std::vector<std::string> model_names();

/// Throws std::invalid_argument that names the known models. Lives as long as the process.
const Model& model_named(std::string_view name);

}  // namespace drought
