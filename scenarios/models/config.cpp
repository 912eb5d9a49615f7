#include "scenarios/models/config.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <stdexcept>

#include "scenarios/models/config_section.hpp"

namespace drought {
namespace {

constexpr std::size_t kBytesMax = std::size_t{1} << 20;
// What all dimensions make together.
constexpr double kParametersMax = 0x1p50;

/// What a model_type says that no field does.
struct Family {
  std::string_view model_type;
  bool qkv_bias = false, qk_norm = false, output_gate = false;
};

// From the models' public code in transformers.
constexpr std::array<Family, 10> kFamilies{
    {{.model_type = "llama"},
     {.model_type = "qwen2", .qkv_bias = true},
     {.model_type = "qwen2_5_vl", .qkv_bias = true},
     {.model_type = "qwen2_5_vl_text", .qkv_bias = true},
     {.model_type = "qwen3", .qk_norm = true},
     {.model_type = "qwen3_vl", .qk_norm = true},
     {.model_type = "qwen3_vl_text", .qk_norm = true},
     {.model_type = "qwen3_5_moe", .qk_norm = true, .output_gate = true},
     {.model_type = "qwen3_5_moe_text", .qk_norm = true, .output_gate = true},
     {.model_type = "deepseek_v3"}}};

const Family& family_of(const ConfigSection& text) {
  const std::string said = text.text_or("model_type", "");
  std::string known;
  for (const Family& family : kFamilies) {
    if (family.model_type == said) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  text.fail("model_type", said.empty() ? "is missing; known: " + known
                                       : "unknown architecture '" + shown(said) + "'; known: " + known);
}

std::string element_type(const ConfigSection& root, const ConfigSection& text) {
  std::string said;
  for (const ConfigSection* const section : {&text, &root})
    for (const char* const field : {"dtype", "torch_dtype"})
      if (said.empty()) said = section->text_or(field, "");
  if (said == "bfloat16") return "bf16";
  if (said == "float32") return "fp32";
  root.fail("torch_dtype",
            said.empty() ? "is missing" : "unknown type '" + shown(said) + "'; known: bfloat16, float32");
}

/// The object that says how positions turn queries and keys: transformers 5 calls it rope_parameters, and has
/// rope_theta and partial_rotary_factor in it.
void read_rope(const ConfigSection& text, Model& model) {
  const std::string name = text.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  static const ConfigSection::Json kNothing = ConfigSection::Json::object();
  const ConfigSection how = text.has(name) ? text.section(name) : ConfigSection(kNothing, "", "");
  const auto real = [&](std::string_view field, double otherwise) {
    return (how.has(field) ? how : text).real_or(field, otherwise, 1e-6, 1e12);
  };
  Rope::Shape& rope = model.rope;
  rope.type = model.type;
  rope.head_dim = model.head_dim;
  rope.rotary_dim = static_cast<std::size_t>(static_cast<double>(model.head_dim) *
                                             std::min(real("partial_rotary_factor", 1), 1.0));
  if (rope.rotary_dim == 0) text.fail("partial_rotary_factor", "turns no element of a head");
  rope.base = real("rope_theta", 10'000);
  rope.sections = how.numbers("mrope_section", 8);
  if (!rope.sections.empty() && rope.sections.size() != 3)
    how.fail("mrope_section", "does not name the pairs of time, height and width");
  if (!rope.sections.empty())
    rope.positions = how.flag_or("mrope_interleaved", false) ? "interleaved-m-rope" : "m-rope";
  const std::string scaling = how.text_or("rope_type", how.text_or("type", "default"));
  if (scaling == "linear" || scaling == "llama3") {
    rope.scaling = scaling;
    rope.factor = real("factor", 1);
    rope.low_factor = real("low_freq_factor", 1);
    rope.high_factor = real("high_freq_factor", 4);
    rope.trained_tokens = how.number_or("original_max_position_embeddings", 8192);
  } else if (scaling != "default" && scaling != "mrope") {
    model.unknown_rope = shown(scaling);
  }
}

/// That a kernel takes it, where attention is plain.
void require_rope(const ConfigSection& text, const Model& model) {
  if (model.latent.kv_rank != 0) return;
  try {
    (void)Rope::axes_of(model.rope);
  } catch (const std::invalid_argument& problem) {
    text.fail(text.has("rope_parameters") ? "rope_parameters" : "rope_scaling", problem.what());
  }
}

Experts read_experts(const ConfigSection& text) {
  Experts experts;
  if (!text.has("n_routed_experts") && !text.has("num_experts")) return experts;
  experts.routed = text.first_of({"n_routed_experts", "num_experts"});
  experts.per_token = text.number("num_experts_per_tok");
  if (experts.per_token > experts.routed)
    text.fail("num_experts_per_tok", "is more than the experts that there are");
  experts.ffn = text.number("moe_intermediate_size");
  experts.dense_layers = text.number_or("first_k_dense_replace", 0);
  experts.router_bias = text.text_or("topk_method", "") == "noaux_tc";
  experts.shared_gate = text.has("shared_expert_intermediate_size");
  experts.shared_ffn = experts.shared_gate ? text.number("shared_expert_intermediate_size")
                                           : text.number_or("n_shared_experts", 0) * experts.ffn;
  return experts;
}

LinearAttention read_linear_attention(const ConfigSection& text, std::size_t layers) {
  LinearAttention linear;
  linear.interval = text.number_or("full_attention_interval", 0);
  if (linear.interval == 0) return linear;
  if (layers % linear.interval != 0) text.fail("full_attention_interval", "does not divide the layers");
  linear.key_heads = text.number("linear_num_key_heads");
  linear.value_heads = text.number("linear_num_value_heads");
  linear.key_dim = text.number("linear_key_head_dim");
  linear.value_dim = text.number("linear_value_head_dim");
  linear.kernel = text.small_number("linear_conv_kernel_dim");
  return linear;
}

/// InternViT: full attention over fixed tiles, a class token, layer scales, and a merger of the whole model.
VisionTower read_intern_tower(const ConfigSection& root, const ConfigSection& vision, std::size_t out) {
  VisionTower tower;
  const std::size_t image = vision.number("image_size"), patch = vision.number("patch_size");
  tower.layers = vision.number("num_hidden_layers");
  tower.heads = vision.number("num_attention_heads");
  tower.ffn = vision.number("intermediate_size");
  tower.patch_values = vision.number_or("num_channels", 3) * patch * patch;
  const double ratio = root.real_or("downsample_ratio", 0.5, 0.125, 1);
  tower.merge = static_cast<std::size_t>(1 / ratio);
  tower.positions = (image / patch) * (image / patch) + 1;
  tower.patch_bias = tower.class_token = tower.layer_scale = tower.merged_norm = true;
  tower.merged = out;
  return tower;
}

VisionTower read_qwen_tower(const ConfigSection& vision, bool gated) {
  VisionTower tower;
  tower.gated = gated;
  tower.rotates = true;
  tower.layers = vision.number("depth");
  tower.heads = vision.number("num_heads");
  tower.ffn = vision.number("intermediate_size");
  const std::size_t patch = vision.number("patch_size");
  tower.patch_values = vision.first_of({"in_channels", "in_chans"}) *
                       vision.small_number("temporal_patch_size") * patch * patch;
  tower.merge = vision.small_number("spatial_merge_size");
  tower.window = vision.number_or("window_size", 0) / patch;
  tower.full_layers = vision.numbers("fullatt_block_indexes", 1000);
  tower.taps = vision.numbers("deepstack_visual_indexes", 1000);
  tower.positions = vision.number_or("num_position_embeddings", 0);
  tower.patch_bias = !gated;
  tower.merged = tower.merge * tower.merge * vision.number("hidden_size");
  return tower;
}

VisionTower read_tower(const ConfigSection& root, const ConfigSection& vision, std::size_t out) {
  const std::string type = root.text_or("model_type", "");
  (void)vision.small_number("patch_size");
  VisionTower tower = type == "internvl_chat" ? read_intern_tower(root, vision, out)
                                              : read_qwen_tower(vision, type == "qwen2_5_vl");
  tower.hidden = vision.number("hidden_size");
  tower.out = vision.number_or("out_hidden_size", out);
  if (tower.hidden % tower.heads != 0) vision.fail("hidden_size", "is no multiple of the heads");
  return tower;
}

/// Sizes are then exact in whatever is computed of them.
void require_possible(const ConfigSection& root, const Model& model) {
  double parameters = 0;
  for (const auto& list : {weight_matrices(model), weight_matrices(model.vision)})
    for (const WeightMatrix& matrix : list)
      parameters += static_cast<double>(matrix.rows) * static_cast<double>(matrix.columns);
  if (parameters > kParametersMax) root.fail("hidden_size", "makes a model of more than 2^50 parameters");
}

Model read_model(const ConfigSection::Json& parsed, const std::string& file) {
  const ConfigSection root(parsed, file, "");
  const std::string nested = root.has("text_config")  ? "text_config"
                             : root.has("llm_config") ? "llm_config"
                                                      : "";
  const ConfigSection text = nested.empty() ? root : root.section(nested);
  const Family& family = family_of(text);
  Model model;
  model.type = element_type(root, text);
  model.layers = text.number("num_hidden_layers");
  if (model.layers > 10'000) text.fail("num_hidden_layers", "is over 10000");
  model.hidden = text.number("hidden_size");
  model.vocab = text.number("vocab_size");
  model.heads = text.number("num_attention_heads");
  model.kv_heads = text.number_or("num_key_value_heads", model.heads);
  model.head_dim = text.number_or("head_dim", model.hidden / model.heads);
  if (model.kv_heads == 0 || model.head_dim == 0) text.fail("num_key_value_heads", "or head_dim is 0");
  model.qkv_bias = text.flag_or("attention_bias", family.qkv_bias) || family.qkv_bias;
  model.qk_norm = family.qk_norm;
  model.output_gate = text.flag_or("attn_output_gate", family.output_gate);
  model.tied_embeddings = text.flag_or("tie_word_embeddings", root.flag_or("tie_word_embeddings", false));
  model.norm_epsilon = text.real_or("rms_norm_eps", 1e-6, 1e-12, 0.1);
  read_rope(text, model);
  model.experts = read_experts(text);
  const bool has_dense = model.experts.routed == 0 || model.experts.dense_layers != 0;
  model.ffn = has_dense ? text.number("intermediate_size") : 0;
  if (model.experts.dense_layers > model.layers)
    text.fail("first_k_dense_replace", "is more than the layers");
  if (text.has("kv_lora_rank"))
    model.latent = {text.number("q_lora_rank"), text.number("kv_lora_rank"), text.number("qk_nope_head_dim"),
                    text.number("qk_rope_head_dim"), text.number("v_head_dim")};
  model.linear = read_linear_attention(text, model.layers);
  if (const ConfigSection::Json* const how = root.object("quantization_config")) {
    const std::string method = ConfigSection(*how, file, "quantization_config.").text_or("quant_method", "");
    if (method != "fp8")
      root.fail("quantization_config", "unknown quant_method '" + shown(method) + "'; known: fp8");
    model.fp8_weights = true;
  }
  if (root.object("vision_config"))
    model.vision = read_tower(root, root.section("vision_config"), model.hidden);
  require_possible(root, model);
  require_rope(text, model);
  return model;
}

}  // namespace

Model read_config(std::string_view text, const std::string& file) {
  if (text.size() > kBytesMax) throw std::invalid_argument(file + ": a config of more than 1 MiB");
  ConfigSection::Json parsed;
  try {
    parsed = ConfigSection::Json::parse(text);
  } catch (const ConfigSection::Json::parse_error& error) {
    throw std::invalid_argument(file + ": byte " + std::to_string(error.byte) + ": this is no JSON");
  } catch (const ConfigSection::Json::out_of_range&) {
    throw std::invalid_argument(file + ": a number that no machine holds");
  }
  if (!parsed.is_object()) throw std::invalid_argument(file + ": not an object");
  return read_model(parsed, file);
}

Model load_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof()) || file.gcount() == 0)
    throw std::invalid_argument("cannot read '" + path + "'");
  text.resize(static_cast<std::size_t>(file.gcount()));
  Model model = read_config(text, path);
  model.name = path;
  return model;
}

}  // namespace drought
