#include "scenarios/models/model.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

constexpr std::size_t kStateElement = 4;
constexpr std::size_t kScaledBlock = 128;  // Of DeepSeek-V3's weight_block_size, both ways.

std::size_t blocks(std::size_t n) { return (n + kScaledBlock - 1) / kScaledBlock; }

/// Adds a layer's matrices to a list.
class Lister {
 public:
  Lister(const Model& model, std::vector<WeightMatrix>& list) : model_(model), list_(list) {}

  void add(std::string_view name, std::size_t rows, std::size_t columns,
           WeightMatrix::Kind kind = WeightMatrix::Kind::matrix) {
    list_.push_back({name, layer_, rows, columns, kind});
  }
  void add_norm(std::string_view name, std::size_t width) { add(name, 1, width, WeightMatrix::Kind::norm); }
  void add_bias(std::string_view name, std::size_t width) { add(name, 1, width, WeightMatrix::Kind::bias); }

  void add_layer(std::size_t layer) {
    layer_ = layer;
    add_norm("input_norm", model_.hidden);
    if (!model_.attends_in_full(layer)) {
      add_linear_attention();
    } else if (model_.latent.kv_rank != 0) {
      add_latent_attention();
    } else {
      add_attention();
    }
    add_norm("post_norm", model_.hidden);
    model_.has_experts(layer) ? add_experts() : add_mlp();
  }

  void add_ends() {
    layer_ = WeightMatrix::no_layer;
    add("embedding", model_.vocab, model_.hidden, WeightMatrix::Kind::embedding);
    add_norm("final_norm", model_.hidden);
    if (!model_.tied_embeddings) add("head", model_.vocab, model_.hidden, WeightMatrix::Kind::embedding);
  }

 private:
  void add_attention() {
    const std::size_t queries = model_.heads * model_.head_dim, keys = model_.kv_heads * model_.head_dim;
    add("q", queries * (model_.output_gate ? 2 : 1), model_.hidden);
    add("k", keys, model_.hidden);
    add("v", keys, model_.hidden);
    add("o", model_.hidden, queries);
    if (model_.qkv_bias) add_bias("q_bias", queries), add_bias("k_bias", keys), add_bias("v_bias", keys);
    if (model_.qk_norm) add_norm("q_norm", model_.head_dim), add_norm("k_norm", model_.head_dim);
  }

  void add_latent_attention() {
    const Latent& latent = model_.latent;
    const std::size_t query = latent.nope_dim + latent.rope_dim, value = latent.value_dim;
    add("q_down", latent.q_rank, model_.hidden);
    add_norm("q_norm", latent.q_rank);
    add("q_up", model_.heads * query, latent.q_rank);
    add("kv_down", latent.kv_rank + latent.rope_dim, model_.hidden);
    add_norm("kv_norm", latent.kv_rank);
    add("kv_up", model_.heads * (latent.nope_dim + value), latent.kv_rank);
    add("o", model_.hidden, model_.heads * value);
  }

  void add_linear_attention() {
    const LinearAttention& linear = model_.linear;
    add("qkvz", linear.channels() + linear.values(), model_.hidden);
    add("ba", 2 * linear.value_heads, model_.hidden);
    add_norm("convolution", linear.channels() * linear.kernel);
    add_norm("decay", 2 * linear.value_heads);  // A_log and dt_bias.
    add_norm("state_norm", linear.value_dim);
    add("o", model_.hidden, linear.values());
  }

  void add_mlp() {
    add("gate", model_.ffn, model_.hidden);
    add("up", model_.ffn, model_.hidden);
    add("down", model_.hidden, model_.ffn);
  }

  void add_experts() {
    const Experts& experts = model_.experts;
    add("router", experts.routed, model_.hidden, WeightMatrix::Kind::embedding);
    if (experts.router_bias) add_bias("router_bias", experts.routed);
    add("experts_in", experts.routed * 2 * experts.ffn, model_.hidden);
    add("experts_out", experts.routed * model_.hidden, experts.ffn);
    if (experts.shared_ffn == 0) return;
    add("gate", experts.shared_ffn, model_.hidden);
    add("up", experts.shared_ffn, model_.hidden);
    add("down", model_.hidden, experts.shared_ffn);
    if (experts.shared_gate) add("shared_gate", 1, model_.hidden, WeightMatrix::Kind::embedding);
  }

  const Model& model_;
  std::vector<WeightMatrix>& list_;
  std::size_t layer_ = 0;
};

std::size_t mlp_parameters(std::size_t hidden, std::size_t ffn) { return 3 * hidden * ffn; }

}  // namespace

std::size_t VisionTower::parameters() const {
  if (layers == 0) return 0;
  const std::size_t norm = (gated ? 1 : 2) * hidden;
  const std::size_t attention = 4 * hidden * hidden + 4 * hidden;
  const std::size_t mlp = gated ? 3 * hidden * ffn + 2 * ffn + hidden : 2 * hidden * ffn + ffn + hidden;
  const std::size_t layer = attention + mlp + 2 * norm + (layer_scale ? 2 * hidden : 0);
  const std::size_t embedding =
      patch_values * hidden + (patch_bias ? hidden : 0) + positions * hidden + (class_token ? hidden : 0);
  const std::size_t wide = merge * merge * hidden;
  const auto merger = [&](bool norm_is_wide) {
    return (gated ? 1 : 2) * (norm_is_wide ? wide : hidden) + wide * merged + merged + merged * out + out;
  };
  return layers * layer + embedding + merger(merged_norm) + taps.size() * merger(true);
}

std::size_t VisionTower::activation_bytes(std::size_t patches) const {
  constexpr std::size_t element = 2;
  const std::size_t qkv = 3 * hidden * element, rotated = 2 * hidden * 4;
  const std::size_t mlp = (gated ? 2 : 1) * ffn * element;
  return patches * (patch_values * element + hidden * element + std::max(qkv + rotated, mlp));
}

std::size_t Model::row_bytes() const {
  return (latent.kv_rank != 0 ? latent.kv_rank + latent.rope_dim : kv_heads * head_dim) * element_bytes();
}

std::size_t Model::cell_bytes() const {
  return (latent.kv_rank != 0 ? 1 : 2) * cached_layers() * row_bytes();
}

std::size_t Model::state_bytes() const {
  if (linear.interval == 0) return 0;
  const std::size_t state = linear.values() * linear.key_dim,
                    inputs = linear.channels() * (linear.kernel - 1);
  return (layers - cached_layers()) * (state + inputs) * kStateElement;
}

std::size_t Model::parameters() const {
  const std::size_t queries = heads * head_dim, keys = kv_heads * head_dim;
  std::size_t attention = (output_gate ? 3 : 2) * hidden * queries + 2 * hidden * keys +
                          (qkv_bias ? queries + 2 * keys : 0) + (qk_norm ? 2 * head_dim : 0);
  if (latent.kv_rank != 0)
    attention = latent.q_rank * (hidden + 1 + heads * (latent.nope_dim + latent.rope_dim)) +
                hidden * (latent.kv_rank + latent.rope_dim) +
                latent.kv_rank * (1 + heads * (latent.nope_dim + latent.value_dim)) +
                heads * latent.value_dim * hidden;
  const std::size_t stateful = hidden * (linear.channels() + 2 * linear.values() + 2 * linear.value_heads) +
                               linear.channels() * linear.kernel + 2 * linear.value_heads + linear.value_dim;
  const std::size_t mixture =
      experts.routed * (mlp_parameters(hidden, experts.ffn) + hidden + (experts.router_bias ? 1 : 0)) +
      mlp_parameters(hidden, experts.shared_ffn) + (experts.shared_gate ? hidden : 0);
  const std::size_t dense = experts.routed == 0 ? layers : experts.dense_layers;
  return cached_layers() * attention + (layers - cached_layers()) * stateful +
         dense * mlp_parameters(hidden, ffn) + (layers - dense) * mixture + 2 * layers * hidden +
         (tied_embeddings ? 1 : 2) * vocab * hidden + hidden;
}

std::size_t Model::weight_bytes() const {
  std::size_t bytes = 0;
  for (const WeightMatrix& matrix : weight_matrices(*this)) bytes += matrix.bytes(*this);
  return bytes;
}

Model Model::share_of(std::size_t ranks) const {
  Model share = *this;
  bool divides = ranks != 0;
  const auto divide = [&](std::size_t& number) {
    divides = divides && number % ranks == 0;
    if (divides) number /= ranks;
  };
  for (std::size_t* const number :
       {&share.heads, &share.kv_heads, &share.ffn, &share.experts.ffn, &share.experts.shared_ffn,
        &share.linear.key_heads, &share.linear.value_heads})
    divide(*number);
  if (!divides)
    throw std::invalid_argument(name + " does not divide among " + std::to_string(ranks) + " ranks");
  share.vocab = (vocab + ranks - 1) / ranks;
  return share;
}

std::size_t WeightMatrix::bytes(const Model& model) const {
  if (!model.fp8_weights || kind != Kind::matrix) return elements() * model.element_bytes();
  return elements() + blocks(rows) * blocks(columns) * sizeof(float);
}

std::vector<WeightMatrix> weight_matrices(const Model& model) {
  std::vector<WeightMatrix> list;
  Lister lister(model, list);
  for (std::size_t layer = 0; layer < model.layers; ++layer) lister.add_layer(layer);
  lister.add_ends();
  return list;
}

}  // namespace drought
