// What a model's server is judged by as a whole.
#include <algorithm>
#include <cmath>

#include "scenarios/models/model_server.hpp"

namespace drought {
namespace {

/// Judges logits by the Euclidean norm of their error. NaN is never within.
OutputComparison judged(std::string what, std::span<const double> expected, std::span<const float> got,
                        double limit) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(got[i]) - expected[i];
    error += difference * difference;
    norm += expected[i] * expected[i];
  }
  const double ratio = std::sqrt(error / norm);
  return {std::move(what), ratio <= limit,
          "its logits are " + std::to_string(ratio) + " of their norm from the float64 model's, limit " +
              std::to_string(limit)};
}

}  // namespace

// To first order each of n operations adds an error of at most u + e sqrt(d) of its result's norm, where u is
// half a unit of the type, e of fp32 and d the longest sum, whose roundings add up as a random walk (Higham
// 2002, 2.8); what comes in passes on by a factor near one, as rows are normed before each block and added
// back after it. A layer of the decoder has 18 operations, one of the tower 16.
double ModelServer::error_limit(bool has_image) const {
  const VisionTower& tower = model_.vision;
  std::size_t depth = std::max({model_.hidden, model_.ffn, model_.heads * model_.head_dim});
  std::size_t operations = 18 * model_.layers + 4;
  if (has_image) {
    depth = std::max({depth, tower.merge * tower.merge * tower.hidden, tower.ffn, tower.merged});
    operations += 16 * tower.layers + 4;
  }
  const double half_unit = model_.type == "bf16" ? 0x1p-9 : 0x1p-24;
  return static_cast<double>(operations) * (half_unit + std::sqrt(static_cast<double>(depth)) * 0x1p-24);
}

void ModelServer::verify() {
  if (!rig_.full()) return;
  const ReferenceModel reference(model_, *weights_, tower_ ? &*tower_ : nullptr);
  for (std::size_t s = 0; s < options_.sequences; ++s) {
    const bool has_image = image_of(s) != nullptr;
    std::optional<ReferenceModel::Image> image;
    if (has_image) image = reference_image();
    // The token drawn last went through no operation.
    const std::vector<std::int32_t> ids(tokens_[s].begin(), tokens_[s].end() - 1);
    const Rows wanted = reference.logits(ids, {prompt_tokens(s) - 1, ids.size() - 1}, image);
    const std::string sequence = " of sequence " + std::to_string(s);
    const double limit = error_limit(has_image);
    std::vector<OutputComparison>& comparisons = rig_.record().comparisons;
    comparisons.push_back(judged("the prompt" + sequence, wanted.row(0), prompt_logits_[s], limit));
    if (!last_logits_[s].empty())
      comparisons.push_back(judged("the last token" + sequence, wanted.row(1), last_logits_[s], limit));
  }
}

}  // namespace drought
