#include "scenarios/auto_profile/model.hpp"

#include <array>
#include <stdexcept>
#include <string>

namespace drought {
namespace {

// Bytes per token: 57,344, 147,456 and 131,072 in bf16. "tiny" is small enough to compute on the host lane.
constexpr std::array<Model, 4> kModels{{
    {.name = "qwen2.5-vl-7b",
     .type = "bf16",
     .layers = 28,
     .hidden = 3584,
     .ffn = 18944,
     .vocab = 152064,
     .heads = 28,
     .kv_heads = 4,
     .head_dim = 128,
     .qkv_bias = true},
    {.name = "qwen3-vl-8b",
     .type = "bf16",
     .layers = 36,
     .hidden = 4096,
     .ffn = 12288,
     .vocab = 151936,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 128,
     .qk_norm = true},
    {.name = "llama-3-8b",
     .type = "bf16",
     .layers = 32,
     .hidden = 4096,
     .ffn = 14336,
     .vocab = 128256,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 128},
    {.name = "tiny",
     .type = "bf16",
     .layers = 2,
     .hidden = 128,
     .ffn = 256,
     .vocab = 512,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 64},
}};

}  // namespace

std::size_t Model::parameters() const {
  const std::size_t queries = heads * head_dim, keys = kv_heads * head_dim;
  const std::size_t attention = 2 * hidden * queries + 2 * hidden * keys +
                                (qkv_bias ? queries + 2 * keys : 0) + (qk_norm ? 2 * head_dim : 0);
  return layers * (attention + 3 * hidden * ffn + 2 * hidden) + 2 * vocab * hidden + hidden;
}

Model Model::share_of(std::size_t ranks) const {
  if (ranks == 0 || heads % ranks != 0 || kv_heads % ranks != 0 || ffn % ranks != 0)
    throw std::invalid_argument(std::string(name) + " does not divide among " + std::to_string(ranks) +
                                " ranks");
  Model share = *this;
  share.heads /= ranks;
  share.kv_heads /= ranks;
  share.ffn /= ranks;
  share.vocab = (vocab + ranks - 1) / ranks;
  return share;
}

std::span<const Model> models() { return kModels; }

const Model& model_named(std::string_view name) {
  std::string known;
  for (const Model& model : kModels) {
    if (model.name == name) return model;
    known += (known.empty() ? "" : ", ") + std::string(model.name);
  }
  throw std::invalid_argument("unknown model '" + std::string(name) + "'; known: " + known);
}

}  // namespace drought
