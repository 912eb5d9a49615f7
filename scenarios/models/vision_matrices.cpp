// The weights of a vision tower, matrix by matrix.
#include "scenarios/models/model.hpp"

namespace drought {
namespace {

using Kind = WeightMatrix::Kind;

class TowerLister {
 public:
  TowerLister(const VisionTower& tower, std::vector<WeightMatrix>& list) : tower_(tower), list_(list) {}

  void add_patches() {
    add("patch", tower_.hidden, tower_.patch_values);
    if (tower_.patch_bias) add("patch_bias", 1, tower_.hidden, Kind::bias);
    if (tower_.positions != 0) add("positions", tower_.positions, tower_.hidden, Kind::bias);
    if (tower_.class_token) add("class_token", 1, tower_.hidden, Kind::bias);
  }

  void add_layer(std::size_t layer) {
    layer_ = layer;
    add_norm("norm_1", "norm_1_shift", tower_.hidden);
    for (const auto& [name, bias] :
         {std::pair{"q", "q_bias"}, {"k", "k_bias"}, {"v", "v_bias"}, {"o", "o_bias"}})
      add_linear(name, bias, tower_.hidden, tower_.hidden);
    add_norm("norm_2", "norm_2_shift", tower_.hidden);
    if (tower_.gated) add_linear("gate", "gate_bias", tower_.ffn, tower_.hidden);
    add_linear("up", "up_bias", tower_.ffn, tower_.hidden);
    add_linear("down", "down_bias", tower_.hidden, tower_.ffn);
    if (tower_.layer_scale)
      add("scale_1", 1, tower_.hidden, Kind::norm), add("scale_2", 1, tower_.hidden, Kind::norm);
  }

  void add_merger(std::size_t number, bool norm_is_wide) {
    layer_ = number;
    const std::size_t wide = tower_.merge * tower_.merge * tower_.hidden;
    add_norm("merger_norm", "merger_norm_shift", norm_is_wide ? wide : tower_.hidden);
    add_linear("merger_in", "merger_in_bias", tower_.merged, wide);
    add_linear("merger_out", "merger_out_bias", tower_.out, tower_.merged);
  }

 private:
  void add(std::string_view name, std::size_t rows, std::size_t columns, Kind kind = Kind::matrix) {
    list_.push_back({name, layer_, rows, columns, kind});
  }
  void add_linear(std::string_view name, std::string_view bias, std::size_t rows, std::size_t columns) {
    add(name, rows, columns);
    add(bias, 1, rows, Kind::bias);
  }
  void add_norm(std::string_view name, std::string_view shift, std::size_t width) {
    add(name, 1, width, Kind::norm);
    if (!tower_.gated) add(shift, 1, width, Kind::bias);
  }

  const VisionTower& tower_;
  std::vector<WeightMatrix>& list_;
  std::size_t layer_ = WeightMatrix::no_layer;
};

}  // namespace

std::vector<WeightMatrix> weight_matrices(const VisionTower& tower) {
  std::vector<WeightMatrix> list;
  if (tower.layers == 0) return list;
  TowerLister lister(tower, list);
  lister.add_patches();
  for (std::size_t layer = 0; layer < tower.layers; ++layer) lister.add_layer(layer);
  for (std::size_t tap = 0; tap < tower.taps.size(); ++tap) lister.add_merger(tap, true);
  lister.add_merger(tower.taps.size(), tower.merged_norm);
  return list;
}

}  // namespace drought
