#include "scenarios/models/config.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace drought {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kBytesMax = std::size_t{1} << 20;
// Each dimension; a product of four is then below 2^96, and what is allocated is checked when it is.
constexpr std::uint64_t kDimensionMax = std::uint64_t{1} << 24;

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

/// An object of the file and where it stands.
class Section {
 public:
  Section(const Json& object, std::string file, std::string path)
      : object_(object), file_(std::move(file)), path_(std::move(path)) {}

  [[noreturn]] void fail(std::string_view field, const std::string& what) const {
    throw std::invalid_argument(file_ + ": " + path_ + std::string(field) + ": " + what);
  }

  const Json* find(std::string_view field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  bool has(std::string_view field) const { return find(field) != nullptr; }

  /// The object under the field, or null.
  const Json* object(std::string_view field) const {
    const Json* const found = find(field);
    if (found && !found->is_object()) fail(field, "is not an object");
    return found;
  }
  Section section(std::string_view field) const {
    const Json* const found = object(field);
    if (!found) fail(field, "is missing");
    return {*found, file_, path_ + std::string(field) + "."};
  }

  std::size_t number(std::string_view field) const {
    const Json* const found = find(field);
    if (!found) fail(field, "is missing");
    return checked(field, *found, 1);
  }
  std::size_t number_or(std::string_view field, std::size_t otherwise) const {
    const Json* const found = find(field);
    return found ? checked(field, *found, 0) : otherwise;
  }
  /// Of the first of the fields that is there; different families call one thing differently.
  std::size_t first_of(std::initializer_list<std::string_view> fields) const {
    for (const std::string_view field : fields)
      if (has(field)) return number(field);
    fail(*fields.begin(), "is missing");
  }
  bool flag_or(std::string_view field, bool otherwise) const {
    const Json* const found = find(field);
    if (found && !found->is_boolean()) fail(field, "is neither true nor false");
    return found ? found->get<bool>() : otherwise;
  }
  std::string text_or(std::string_view field, std::string_view otherwise) const {
    const Json* const found = find(field);
    if (found && !found->is_string()) fail(field, "is not a string");
    return found ? found->get<std::string>() : std::string(otherwise);
  }
  double real_or(std::string_view field, double otherwise, double low, double high) const {
    const Json* const found = find(field);
    if (found && !found->is_number()) fail(field, "is not a number");
    const double value = found ? found->get<double>() : otherwise;
    if (!(value >= low && value <= high))
      fail(field, "is not between " + std::to_string(low) + " and " + std::to_string(high));
    return value;
  }
  std::vector<std::size_t> numbers(std::string_view field, std::size_t count_max) const {
    const Json* const found = find(field);
    if (!found) return {};
    if (!found->is_array() || found->size() > count_max)
      fail(field, "is not a list of at most " + std::to_string(count_max) + " numbers");
    std::vector<std::size_t> values;
    for (const Json& item : *found) values.push_back(checked(field, item, 0));
    return values;
  }

 private:
  std::size_t checked(std::string_view field, const Json& value, std::uint64_t low) const {
    const bool is_whole = value.is_number_unsigned() && value.get<std::uint64_t>() >= low &&
                          value.get<std::uint64_t>() <= kDimensionMax;
    if (!is_whole)
      fail(field,
           "is not a whole number between " + std::to_string(low) + " and " + std::to_string(kDimensionMax));
    return static_cast<std::size_t>(value.get<std::uint64_t>());
  }

  const Json& object_;
  const std::string file_, path_;
};

const Family& family_of(const Section& text) {
  const std::string said = text.text_or("model_type", "");
  std::string known;
  for (const Family& family : kFamilies) {
    if (family.model_type == said) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  text.fail("model_type", said.empty() ? "is missing; known: " + known
                                       : "unknown architecture '" + said + "'; known: " + known);
}

std::string element_type(const Section& root, const Section& text) {
  std::string said;
  for (const Section* const section : {&text, &root})
    for (const char* const field : {"dtype", "torch_dtype"})
      if (said.empty()) said = section->text_or(field, "");
  if (said == "bfloat16") return "bf16";
  if (said == "float32") return "fp32";
  root.fail("torch_dtype",
            said.empty() ? "is missing" : "unknown type '" + said + "'; known: bfloat16, float32");
}

Experts read_experts(const Section& text) {
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

LinearAttention read_linear_attention(const Section& text, std::size_t layers) {
  LinearAttention linear;
  linear.interval = text.number_or("full_attention_interval", 0);
  if (linear.interval == 0) return linear;
  if (layers % linear.interval != 0) text.fail("full_attention_interval", "does not divide the layers");
  linear.key_heads = text.number("linear_num_key_heads");
  linear.value_heads = text.number("linear_num_value_heads");
  linear.key_dim = text.number("linear_key_head_dim");
  linear.value_dim = text.number("linear_value_head_dim");
  linear.kernel = text.number("linear_conv_kernel_dim");
  return linear;
}

/// InternViT: full attention over fixed tiles, a class token, layer scales, and a merger of the whole model.
VisionTower read_intern_tower(const Section& root, const Section& vision, std::size_t out) {
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

VisionTower read_qwen_tower(const Section& vision, bool gated) {
  VisionTower tower;
  tower.gated = gated;
  tower.layers = vision.number("depth");
  tower.heads = vision.number("num_heads");
  tower.ffn = vision.number("intermediate_size");
  const std::size_t patch = vision.number("patch_size");
  tower.patch_values =
      vision.first_of({"in_channels", "in_chans"}) * vision.number("temporal_patch_size") * patch * patch;
  tower.merge = vision.number("spatial_merge_size");
  tower.window = vision.number_or("window_size", 0) / patch;
  tower.full_layers = vision.numbers("fullatt_block_indexes", 1000);
  tower.taps = vision.numbers("deepstack_visual_indexes", 1000);
  tower.positions = vision.number_or("num_position_embeddings", 0);
  tower.patch_bias = !gated;
  tower.merged = tower.merge * tower.merge * vision.number("hidden_size");
  return tower;
}

VisionTower read_tower(const Section& root, const Section& vision, std::size_t out) {
  const std::string type = root.text_or("model_type", "");
  if (vision.number("patch_size") > 1024) vision.fail("patch_size", "is over 1024");
  VisionTower tower = type == "internvl_chat" ? read_intern_tower(root, vision, out)
                                              : read_qwen_tower(vision, type == "qwen2_5_vl");
  tower.hidden = vision.number("hidden_size");
  tower.out = vision.number_or("out_hidden_size", out);
  if (tower.hidden % tower.heads != 0) vision.fail("hidden_size", "is no multiple of the heads");
  return tower;
}

Model read_model(const Json& parsed, const std::string& file) {
  const Section root(parsed, file, "");
  const std::string nested = root.has("text_config")  ? "text_config"
                             : root.has("llm_config") ? "llm_config"
                                                      : "";
  const Section text = nested.empty() ? root : root.section(nested);
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
  model.experts = read_experts(text);
  const bool has_dense = model.experts.routed == 0 || model.experts.dense_layers != 0;
  model.ffn = has_dense ? text.number("intermediate_size") : 0;
  if (model.experts.dense_layers > model.layers)
    text.fail("first_k_dense_replace", "is more than the layers");
  if (text.has("kv_lora_rank"))
    model.latent = {text.number("q_lora_rank"), text.number("kv_lora_rank"), text.number("qk_nope_head_dim"),
                    text.number("qk_rope_head_dim"), text.number("v_head_dim")};
  model.linear = read_linear_attention(text, model.layers);
  if (const Json* const how = root.object("quantization_config")) {
    const std::string method = Section(*how, file, "quantization_config.").text_or("quant_method", "");
    if (method != "fp8")
      root.fail("quantization_config", "unknown quant_method '" + method + "'; known: fp8");
    model.fp8_weights = true;
  }
  if (root.object("vision_config"))
    model.vision = read_tower(root, root.section("vision_config"), model.hidden);
  return model;
}

}  // namespace

Model read_config(std::string_view text, const std::string& file) {
  if (text.size() > kBytesMax) throw std::invalid_argument(file + ": a config of more than 1 MiB");
  Json parsed;
  try {
    parsed = Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw std::invalid_argument(file + ": byte " + std::to_string(error.byte) + ": this is no JSON");
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
