#include "scenarios/models/vision_encoder.hpp"

#include <algorithm>

#include "kernels/gated_activation.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm.hpp"
#include "kernels/vision_attention.hpp"
#include "scenarios/models/planned_operation.hpp"

namespace drought {

bool VisionEncoder::has_window() const {
  return tower_.window != 0 && std::ranges::find(tower_.full_layers, layer_) == tower_.full_layers.end();
}

VisionEncoder::Value VisionEncoder::linear(Value x, std::string_view name, std::string_view bias_name,
                                           std::size_t rows, std::size_t columns, std::size_t depth,
                                           const Value* into) {
  auto kernel = std::make_unique<Linear>(Linear::Shape{.type = type_,
                                                       .rows = rows,
                                                       .columns = columns,
                                                       .depth = depth,
                                                       .bias = !bias_name.empty(),
                                                       .workspace_bytes = workspace_bytes_});
  const Value made = into ? *into : activation("vision_linear", rows * columns);
  std::vector<Value> parts{x, weight(name)};
  if (!bias_name.empty()) parts.push_back(weight(bias_name));
  parts.push_back(made);
  program_.call("vision " + std::string(name), std::move(kernel), parts);
  return made;
}

VisionEncoder::Value VisionEncoder::norm(Value x, const Value* residual, std::string_view name,
                                         std::string_view shift, std::size_t rows, std::size_t width,
                                         Value* sum) {
  auto kernel = std::make_unique<Norm>(Norm::Shape{.type = type_,
                                                   .kind = tower_.gated ? "rms" : "layer",
                                                   .rows = rows,
                                                   .width = width,
                                                   .residual = residual != nullptr});
  const Value made = activation("vision_normed", rows * width);
  std::vector<Value> parts{x};
  if (residual) parts.push_back(*residual);
  parts.push_back(weight(name));
  if (!tower_.gated) parts.push_back(weight(shift));
  parts.push_back(made);
  if (residual) {
    *sum = activation("vision_hidden", rows * width);
    parts.push_back(*sum);
  }
  program_.call("vision " + std::string(name), std::move(kernel), parts);
  return made;
}

VisionEncoder::Value VisionEncoder::add_class_token(Value hidden) {
  const std::size_t width = tower_.hidden * element_;
  const Value token = weight("class_token"), made = program_.made("vision_hidden", (rows_ + 1) * width);
  std::vector<Part> plan{{.name = "x", .bytes = rows_ * width},
                         {.name = "token", .bytes = width},
                         {.name = "out", .bytes = (rows_ + 1) * width, .role = Part::Role::output}};
  program_.call("class token", std::make_unique<PlannedOperation>("class_token", std::move(plan)),
                {hidden, token, made});
  ++rows_;
  return made;
}

VisionEncoder::Value VisionEncoder::scaled(Value x, std::string_view name) {
  if (!tower_.layer_scale) return x;
  const std::size_t width = tower_.hidden * element_;
  const Value scale = weight(name), made = program_.made("vision_scaled", rows_ * width);
  std::vector<Part> plan{{.name = "x", .bytes = rows_ * width},
                         {.name = "scale", .bytes = width},
                         {.name = "out", .bytes = rows_ * width, .role = Part::Role::output}};
  program_.call("layer scale", std::make_unique<PlannedOperation>("layer_scale", std::move(plan)),
                {x, scale, made});
  return made;
}

VisionEncoder::Value VisionEncoder::attend(Value normed, const ImageBatch& image) {
  const std::size_t width = tower_.hidden;
  Value q = linear(normed, "q", "q_bias", rows_, width, width);
  Value k = linear(normed, "k", "k_bias", rows_, width, width);
  const Value v = linear(normed, "v", "v_bias", rows_, width, width);
  if (tower_.rotates) {
    q = image.rotation.turn(program_, "vision rope of q", q, rows_, tower_.heads);
    k = image.rotation.turn(program_, "vision rope of k", k, rows_, tower_.heads);
  }
  const Value made = activation("vision_attended", rows_ * width);
  const bool windowed = has_window() != image.swaps_starts;
  program_.call(
      "vision_attention of layer " + std::to_string(layer_),
      std::make_unique<VisionAttention>(VisionAttention::Shape{
          .type = type_,
          .cu_seqlens = windowed ? image.layout->window_starts() : std::vector<std::size_t>{0, rows_},
          .heads = tower_.heads,
          .head_dim = tower_.head_dim()}),
      {q, k, v, windowed ? image.window_starts : image.full_starts, made});
  return scaled(linear(made, "o", "o_bias", rows_, width, width), "scale_1");
}

VisionEncoder::Value VisionEncoder::mlp(Value normed) {
  const std::size_t width = tower_.hidden, ffn = tower_.ffn;
  Value gate = 0;
  if (tower_.gated) gate = linear(normed, "gate", "gate_bias", rows_, ffn, width);
  const Value up = linear(normed, "up", "up_bias", rows_, ffn, width),
              made = activation("vision_mlp", rows_ * ffn);
  program_.call("vision activation",
                std::make_unique<GatedActivation>(
                    GatedActivation::Shape{.type = type_,
                                           .function = tower_.gated ? "silu" : "gelu_tanh",
                                           .rows = rows_,
                                           .width = ffn,
                                           .gated = tower_.gated}),
                tower_.gated ? std::vector<Value>{gate, up, made} : std::vector<Value>{up, made});
  return scaled(linear(made, "down", "down_bias", rows_, width, ffn), "scale_2");
}

void VisionEncoder::merge(Value hidden, const Value* delta, std::size_t number, bool norm_is_wide,
                          Value into) {
  layer_ = number;
  const std::size_t each = tower_.merge * tower_.merge, tokens = rows_ / each, wide = each * tower_.hidden;
  Value sum = 0;
  const Value normed = norm(hidden, delta, "merger_norm", "merger_norm_shift",
                            norm_is_wide ? tokens : tokens * each, norm_is_wide ? wide : tower_.hidden, &sum);
  const Value inner = linear(normed, "merger_in", "merger_in_bias", tokens, tower_.merged, wide);
  const Value active = activation("merger_active", tokens * tower_.merged);
  program_.call(
      "merger activation",
      std::make_unique<GatedActivation>(GatedActivation::Shape{
          .type = type_, .function = "gelu_tanh", .rows = tokens, .width = tower_.merged, .gated = false}),
      {inner, active});
  linear(active, "merger_out", "merger_out_bias", tokens, tower_.out, tower_.merged, &into);
}

void VisionEncoder::add(const ImageBatch& image, const std::vector<Value>& tokens) {
  rows_ = image.layout->patches();
  layer_ = WeightMatrix::no_layer;
  Value hidden = linear(image.pixels, "patch", tower_.patch_bias ? "patch_bias" : "", rows_, tower_.hidden,
                        tower_.patch_values);
  if (tower_.class_token) hidden = add_class_token(hidden);
  Value delta = image.positions;
  for (std::size_t layer = 0; layer < tower_.layers; ++layer) {
    layer_ = layer;
    const bool adds = layer != 0 || tower_.positions != 0;
    Value sum = hidden;
    const Value first =
        norm(hidden, adds ? &delta : nullptr, "norm_1", "norm_1_shift", rows_, tower_.hidden, &sum);
    const Value attended = attend(first, image);
    const Value second = norm(attended, &sum, "norm_2", "norm_2_shift", rows_, tower_.hidden, &hidden);
    delta = mlp(second);
    const auto tap = std::ranges::find(tower_.taps, layer);
    if (tap == tower_.taps.end()) continue;
    const auto number = static_cast<std::size_t>(tap - tower_.taps.begin());
    merge(hidden, &delta, number, true, tokens.at(1 + number));
  }
  rows_ = image.layout->patches();
  merge(hidden, &delta, tower_.taps.size(), tower_.merged_norm, tokens.at(0));
}

}  // namespace drought
