// A whole model in float64 on the host, of the numbers that its weights were drawn as. Operations are judged
// one by one by their own oracles, on what each of them read; what no oracle sees is judged by this: which
// operation reads what, where tokens and patches stand, what a cache held, and whether the weights on the
// device are still the model's. Written after the models' public code in transformers: patches and tokens lie
// row after row of the image here, and windows are a question of who sees whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "scenarios/models/model.hpp"
#include "scenarios/models/reference_rows.hpp"
#include "scenarios/models/weights.hpp"

namespace drought {

class ReferenceModel {
 public:
  struct Image {
    std::size_t rows = 0, columns = 0;  ///< Of patches.
    Rows pixels, positions;             ///< Of each patch, row after row; positions where they are learned.
  };
  /// All of them outlive this; `tower` is null where no image is shown. The model has no planned parts.
  ReferenceModel(const Model& model, const Weights& weights, const Weights* tower)
      : model_(model), weights_(weights), tower_weights_(tower) {}

  /// The logits after each of the tokens numbered `wanted`, of a sequence that begins with the tokens of
  /// `image`, if there is one. Costs two operations a token and parameter.
  Rows logits(const std::vector<std::int32_t>& ids, const std::vector<std::size_t>& wanted,
              const std::optional<Image>& image) const;

 private:
  /// What the tower makes tokens of: the last layer's, then those of the taps.
  std::vector<Rows> image_tokens(const Image& image) const;
  void add_tower_layer(Rows& hidden, const Image& image, std::size_t layer) const;
  Rows merged(const Rows& hidden, const Image& image, std::size_t number, bool norm_is_wide) const;
  /// [tokens][pairs]
  Rows angles(std::size_t tokens, const std::optional<Image>& image) const;
  void add_layer(Rows& hidden, const Rows& angles, std::size_t layer) const;
  std::vector<double> tower(std::string_view name, std::size_t layer) const {
    return tower_weights_->drawn(name, layer);
  }

  const Model& model_;
  const Weights& weights_;
  const Weights* const tower_weights_;
};

}  // namespace drought
