// The tensors of DeepSeek V4 Flash as antirez/ds4 publishes it, in two quantisations. The sums agree to
// the byte with a calculator that reproduced the sizes in six logs of its issues (293, 387, 721 among
// them). The order of tensors within a layer is not published; what shows in those logs is that the two
// 12-byte scales lie inside a layer.
#include <stdexcept>

#include "scenarios/span_cover/model_layout.hpp"

namespace drought {
namespace {

using Group = ModelTensor::Group;

constexpr std::uint64_t embed = 4096, vocabulary = 129'280, heads = 64, head_dim = 512;
constexpr std::uint64_t q_lora = 1024, o_lora = 1024, out_groups = 8, experts = 256, experts_used = 6;
constexpr std::uint64_t feed_forward = 2048, indexer_heads = 64, indexer_dim = 128;
constexpr std::uint64_t streams = 4, hc_dim = streams * embed, hc_mix = 24;
constexpr unsigned layer_count = 43, hash_layers = 3;

/// Bytes of `elements` in GGUF's types: block sizes and bytes are ggml's.
constexpr std::uint64_t f32(std::uint64_t elements) { return 4 * elements; }
constexpr std::uint64_t f16(std::uint64_t elements) { return 2 * elements; }
constexpr std::uint64_t q8_0(std::uint64_t elements) { return elements / 32 * 34; }
constexpr std::uint64_t q4_k(std::uint64_t elements) { return elements / 256 * 144; }
constexpr std::uint64_t q2_k(std::uint64_t elements) { return elements / 256 * 84; }
constexpr std::uint64_t iq2_xxs(std::uint64_t elements) { return elements / 256 * 66; }

/// Tokens that one compressed row stands for; 0: the layer keeps none.
unsigned compress_ratio(unsigned layer) {
  if (layer < 2) return 0;
  return layer % 2 == 0 ? 4 : 128;
}

class Recipe {
 public:
  explicit Recipe(bool four_bits) : four_bits_(four_bits) {}

  std::vector<ModelTensor> tensors() {
    for (unsigned layer = 0; layer < layer_count; ++layer) add_layer(layer);
    add(Group::embedding, "token_embd", f16(embed * vocabulary));
    add(Group::head, "output_hc_base", f32(streams));
    add(Group::head, "output_hc_fn", f16(hc_dim * streams));
    add(Group::head, "output_hc_scale", f32(1));
    add(Group::head, "output_norm", f32(embed));
    add(Group::head, "output", q8_0(embed * vocabulary));
    return std::move(tensors_);
  }

 private:
  void add(Group group, std::string name, std::uint64_t bytes) {
    tensors_.push_back({std::move(name), group, layer_, bytes, 0});
  }
  void add(std::string_view name, std::uint64_t bytes) {
    add(Group::layer, "blk." + std::to_string(layer_) + "." + std::string(name), bytes);
  }

  void add_layer(unsigned layer) {
    layer_ = layer;
    add("hc_attn_fn", f16(hc_dim * hc_mix));
    add("hc_attn_scale", f32(3));
    add("hc_attn_base", f32(hc_mix));
    add("attn_norm", f32(embed));
    add("attn_q_a", q8_0(embed * q_lora));
    add("attn_q_a_norm", f32(q_lora));
    add("attn_q_b", q8_0(q_lora * heads * head_dim));
    add("attn_kv", q8_0(embed * head_dim));
    add("attn_kv_norm", f32(head_dim));
    add("attn_sinks", f32(heads));
    add("attn_output_a", q8_0(heads * head_dim / out_groups * o_lora * out_groups));
    add("attn_output_b", q8_0(out_groups * o_lora * embed));
    add_compressors(compress_ratio(layer));
    add("hc_ffn_fn", f16(hc_dim * hc_mix));
    add("hc_ffn_scale", f32(3));
    add("hc_ffn_base", f32(hc_mix));
    add("ffn_norm", f32(embed));
    add("ffn_gate_inp", f16(embed * experts));
    if (layer < hash_layers) {
      add("ffn_hash", 4 * vocabulary * experts_used);
    } else {
      add("ffn_bias", f32(experts));
    }
    const std::uint64_t routed = experts * feed_forward * embed;
    add("ffn_gate_exps", four_bits_ ? q4_k(routed) : iq2_xxs(routed));
    add("ffn_up_exps", four_bits_ ? q4_k(routed) : iq2_xxs(routed));
    add("ffn_down_exps", four_bits_ ? q4_k(routed) : q2_k(routed));
    for (const char* name : {"ffn_gate_shared", "ffn_up_shared", "ffn_down_shared"})
      add(name, q8_0(feed_forward * embed));
  }

  void add_compressor(const std::string& prefix, std::uint64_t dim, unsigned ratio) {
    const std::uint64_t width = (ratio == 4 ? 2 : 1) * dim;  // Ratio 4 keeps two overlapping windows.
    add(prefix + "_kv", f16(embed * width));
    add(prefix + "_gate", f16(embed * width));
    add(prefix + "_ape", f16(ratio * width));
    add(prefix + "_norm", f32(dim));
  }
  void add_compressors(unsigned ratio) {
    if (ratio == 0) return;
    add_compressor("attn_compressor", head_dim, ratio);
    if (ratio != 4) return;
    add("indexer_q_b", f16(q_lora * indexer_heads * indexer_dim));
    add("indexer_weights", f16(embed * indexer_heads));
    add_compressor("indexer_compressor", indexer_dim, ratio);
  }

  const bool four_bits_;
  unsigned layer_ = 0;
  std::vector<ModelTensor> tensors_;
};

}  // namespace

std::vector<std::string> layout_names() { return {"deepseek-v4-flash-q4", "deepseek-v4-flash-q2"}; }

ModelLayout make_layout(const LayoutOptions& options) {
  const bool four_bits = options.model == "deepseek-v4-flash-q4";
  if (!four_bits && options.model != "deepseek-v4-flash-q2") {
    std::string known;
    for (const std::string& name : layout_names()) known += (known.empty() ? "" : ", ") + name;
    throw std::invalid_argument("unknown model '" + options.model + "'; known: " + known);
  }
  return place_tensors(options.model, layer_count, Recipe(four_bits).tensors(), options);
}

}  // namespace drought
