// The vision tower of the float64 model.
#include <algorithm>

#include "scenarios/models/reference_model.hpp"

namespace drought {
namespace {

constexpr double kEpsilon = 1e-6;      // Of every norm of the towers' public code.
constexpr double kRotaryBase = 10000;  // Qwen2.5-VL's VisionRotaryEmbedding.

}  // namespace

void ReferenceModel::add_tower_layer(Rows& hidden, const Image& image, std::size_t layer) const {
  const VisionTower& vision = model_.vision;
  const auto of = [&](std::string_view name) { return tower(name, layer); };
  const auto shift = [&](std::string_view name) { return vision.gated ? std::vector<double>() : of(name); };
  Rows x = normed(hidden, of("norm_1"), shift("norm_1_shift"), kEpsilon);
  Rows q = product(x, of("q"), of("q_bias")), k = product(x, of("k"), of("k_bias"));
  const Rows v = product(x, of("v"), of("v_bias"));
  const std::size_t quarter = vision.head_dim() / 4;
  for (Rows* const turned : {&q, &k})
    turn_heads(*turned, vision.head_dim(), [&](std::size_t patch) {
      std::vector<double> angles;
      for (const std::size_t at : {patch / image.columns, patch % image.columns})
        for (std::size_t i = 0; i < quarter; ++i)
          angles.push_back(static_cast<double>(at) *
                           std::pow(kRotaryBase, -static_cast<double>(i) / static_cast<double>(quarter)));
      return angles;
    });
  const bool is_full = vision.window == 0 || std::ranges::count(vision.full_layers, layer) != 0;
  const auto sees = [&](std::size_t one, std::size_t other) {
    const auto window = [&](std::size_t patch) {
      return std::pair(patch / image.columns / vision.window, patch % image.columns / vision.window);
    };
    return is_full || window(one) == window(other);
  };
  add(hidden.values, product(attended(q, k, v, vision.head_dim(), sees), of("o"), of("o_bias")).values);
  x = normed(hidden, of("norm_2"), shift("norm_2_shift"), kEpsilon);
  Rows up = product(x, of("up"), of("up_bias"));
  if (vision.gated) {
    const Rows gate = product(x, of("gate"), of("gate_bias"));
    for (std::size_t i = 0; i < up.values.size(); ++i) up.values[i] *= silu(gate.values[i]);
  } else {
    std::ranges::transform(up.values, up.values.begin(), gelu_tanh);
  }
  add(hidden.values, product(up, of("down"), of("down_bias")).values);
}

Rows ReferenceModel::merged(const Rows& hidden, const Image& image, std::size_t number,
                            bool norm_is_wide) const {
  const VisionTower& vision = model_.vision;
  const auto of = [&](std::string_view name) { return tower(name, number); };
  const std::vector<double> scale = of("merger_norm"),
                            shift = vision.gated ? std::vector<double>() : of("merger_norm_shift");
  const Rows each = norm_is_wide ? hidden : normed(hidden, scale, shift, kEpsilon);
  Rows wide{vision.merge * vision.merge * vision.hidden};
  for (std::size_t row = 0; row < image.rows; row += vision.merge)
    for (std::size_t column = 0; column < image.columns; column += vision.merge)
      for (std::size_t down = 0; down < vision.merge; ++down)
        for (std::size_t right = 0; right < vision.merge; ++right) {
          const auto patch = each.row((row + down) * image.columns + column + right);
          wide.values.insert(wide.values.end(), patch.begin(), patch.end());
        }
  if (norm_is_wide) wide = normed(std::move(wide), scale, shift, kEpsilon);
  Rows inner = product(wide, of("merger_in"), of("merger_in_bias"));
  std::ranges::transform(inner.values, inner.values.begin(), gelu_tanh);
  return product(inner, of("merger_out"), of("merger_out_bias"));
}

std::vector<Rows> ReferenceModel::image_tokens(const Image& image) const {
  const VisionTower& vision = model_.vision;
  constexpr std::size_t none = WeightMatrix::no_layer;
  Rows hidden = product(image.pixels, tower("patch", none),
                        vision.patch_bias ? tower("patch_bias", none) : std::vector<double>());
  if (vision.positions != 0) add(hidden.values, image.positions.values);
  std::vector<Rows> made(1 + vision.taps.size());
  for (std::size_t layer = 0; layer < vision.layers; ++layer) {
    add_tower_layer(hidden, image, layer);
    const auto tap = std::ranges::find(vision.taps, layer);
    if (tap == vision.taps.end()) continue;
    const auto number = static_cast<std::size_t>(tap - vision.taps.begin());
    made[1 + number] = merged(hidden, image, number, true);
  }
  made[0] = merged(hidden, image, vision.taps.size(), vision.merged_norm);
  return made;
}

}  // namespace drought
