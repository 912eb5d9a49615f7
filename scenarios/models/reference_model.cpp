#include "scenarios/models/reference_model.hpp"

#include <algorithm>
#include <array>

namespace drought {
namespace {

/// Time, row and column of each token (Qwen2-VL's get_rope_index, of one image at the start).
std::vector<std::array<double, 3>> places(std::size_t tokens, std::size_t down, std::size_t across) {
  std::vector<std::array<double, 3>> all;
  for (std::size_t row = 0; row < down; ++row)
    for (std::size_t column = 0; column < across; ++column)
      all.push_back({0, static_cast<double>(row), static_cast<double>(column)});
  for (auto next = static_cast<double>(std::max(down, across)); all.size() < tokens; ++next)
    all.push_back({next, next, next});
  return all;
}

/// Which of the three turns each pair.
std::vector<std::size_t> axes(const Rope::Shape& rope, std::size_t pairs) {
  std::vector<std::size_t> of(pairs, 0);
  if (rope.positions == "m-rope") {
    std::fill(of.begin() + static_cast<std::ptrdiff_t>(rope.sections[0]), of.end(), 1);
    std::fill(of.end() - static_cast<std::ptrdiff_t>(rope.sections[2]), of.end(), 2);
  }
  for (std::size_t axis = 1; axis < 3 && rope.positions == "interleaved-m-rope"; ++axis)
    for (std::size_t pair = axis; pair < 3 * rope.sections[axis]; pair += 3) of[pair] = axis;
  return of;
}

/// transformers' _compute_llama3_parameters, by wavelengths.
double stretched(const Rope::Shape& rope, double frequency) {
  if (rope.scaling == "none") return frequency;
  const double wavelength = 2 * std::numbers::pi / frequency,
               trained = static_cast<double>(rope.trained_tokens);
  if (rope.scaling == "linear" || wavelength > trained / rope.low_factor) return frequency / rope.factor;
  if (wavelength < trained / rope.high_factor) return frequency;
  const double smooth = (trained / wavelength - rope.low_factor) / (rope.high_factor - rope.low_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

}  // namespace

Rows ReferenceModel::angles(std::size_t tokens, const std::optional<Image>& image) const {
  const Rope::Shape& rope = model_.rope;
  const std::size_t turned = rope.rotary_dim == 0 ? model_.head_dim : rope.rotary_dim, pairs = turned / 2;
  const bool has_place = image && rope.sections.size() == 3;
  const auto at = places(tokens, has_place ? image->rows / model_.vision.merge : 0,
                         has_place ? image->columns / model_.vision.merge : 0);
  const std::vector<std::size_t> axis = axes(rope, pairs);
  Rows made{pairs};
  for (std::size_t token = 0; token < tokens; ++token)
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      const double exponent = -2 * static_cast<double>(pair) / static_cast<double>(turned);
      made.values.push_back(at[token][axis[pair]] * stretched(rope, std::pow(rope.base, exponent)));
    }
  return made;
}

void ReferenceModel::add_layer(Rows& hidden, const Rows& angles, std::size_t layer) const {
  const auto of = [&](std::string_view name) { return weights_.drawn(name, layer); };
  const auto bias = [&](std::string_view name) { return model_.qkv_bias ? of(name) : std::vector<double>(); };
  const double epsilon = model_.norm_epsilon;
  Rows x = normed(hidden, of("input_norm"), {}, epsilon);
  Rows q = product(x, of("q"), bias("q_bias")), k = product(x, of("k"), bias("k_bias"));
  const Rows v = product(x, of("v"), bias("v_bias"));
  if (model_.qk_norm) {
    q = normed(std::move(q), of("q_norm"), {}, epsilon);
    k = normed(std::move(k), of("k_norm"), {}, epsilon);
  }
  for (Rows* const turned : {&q, &k})
    turn_heads(*turned, model_.head_dim, [&](std::size_t token) {
      return std::vector<double>(angles.row(token).begin(), angles.row(token).end());
    });
  const auto causal = [](std::size_t query, std::size_t key) { return key <= query; };
  add(hidden.values, product(attended(q, k, v, model_.head_dim, causal), of("o")).values);
  x = normed(hidden, of("post_norm"), {}, epsilon);
  Rows gate = product(x, of("gate"));
  const Rows up = product(x, of("up"));
  for (std::size_t i = 0; i < up.values.size(); ++i) gate.values[i] = silu(gate.values[i]) * up.values[i];
  add(hidden.values, product(gate, of("down")).values);
}

Rows ReferenceModel::logits(const std::vector<std::int32_t>& ids, const std::vector<std::size_t>& wanted,
                            const std::optional<Image>& image) const {
  const std::vector<double> table = weights_.drawn("embedding");
  const std::vector<Rows> shown = image ? image_tokens(*image) : std::vector<Rows>();
  Rows hidden{model_.hidden};
  for (const std::int32_t id : ids) {
    const auto entry =
        table.begin() + static_cast<std::ptrdiff_t>(id) * static_cast<std::ptrdiff_t>(model_.hidden);
    hidden.values.insert(hidden.values.end(), entry, entry + static_cast<std::ptrdiff_t>(model_.hidden));
  }
  if (image) std::ranges::copy(shown[0].values, hidden.values.begin());
  const Rows turns = angles(ids.size(), image);
  for (std::size_t layer = 0; layer < model_.layers; ++layer) {
    add_layer(hidden, turns, layer);
    if (layer + 1 < shown.size())
      add(std::span(hidden.values).first(shown[layer + 1].values.size()), shown[layer + 1].values);
  }
  Rows last{model_.hidden};
  for (const std::size_t row : wanted)
    last.values.insert(last.values.end(), hidden.row(row).begin(), hidden.row(row).end());
  return product(normed(std::move(last), weights_.drawn("final_norm"), {}, model_.norm_epsilon),
                 model_.tied_embeddings ? table : weights_.drawn("head"));
}

}  // namespace drought
