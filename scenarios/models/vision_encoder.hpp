// The operations of a vision tower over one image, as a plain list: patches to hidden states, layers with
// windowed or full attention, and the merger that makes tokens of them. Pixels arrive as rows of one patch
// each, in the order of windows and of merging within (image_layout.hpp), so that merging is a matter of how
// rows are read. Class tokens and layer scales (InternViT) are planned operations.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "scenarios/models/image_layout.hpp"
#include "scenarios/models/model.hpp"
#include "scenarios/models/program.hpp"
#include "scenarios/models/rotation.hpp"
#include "scenarios/models/weights.hpp"

namespace drought {

/// An image, and where its inputs lie on the device.
struct ImageBatch {
  const ImageLayout* layout = nullptr;
  Program::Value pixels = 0;     ///< [patches][patch_values]
  Program::Value positions = 0;  ///< [patches][hidden], where the tower has learned ones.
  Rotation rotation;             ///< Where the tower rotates.
  Program::Value full_starts = 0, window_starts = 0;  ///< cu_seqlens of the two kinds of layers.
  bool swaps_starts = false;                          ///< A bug: either kind of layers gets the other's.
};

class VisionEncoder {
 public:
  /// All of them outlive this. `workspace_bytes` is what matrix products get.
  VisionEncoder(Program& program, const Model& model, const Weights& weights, std::size_t workspace_bytes)
      : program_(program),
        tower_(model.vision),
        type_(model.type),
        element_(model.element_bytes()),
        weights_(weights),
        workspace_bytes_(workspace_bytes) {}

  /// Adds every operation; the last writes tokens of the decoder's width into `tokens`, and into the values
  /// after it those of the taps.
  void add(const ImageBatch& image, const std::vector<Program::Value>& tokens);

 private:
  using Value = Program::Value;

  Value activation(std::string_view tag, std::size_t elements) {
    return program_.made(tag, elements * element_);
  }
  Value weight(std::string_view name) { return weights_.value(program_, name, layer_); }
  Value linear(Value x, std::string_view name, std::string_view bias_name, std::size_t rows,
               std::size_t columns, std::size_t depth, const Value* into = nullptr);
  /// The sum with `residual`, if there is one, goes to `sum`.
  Value norm(Value x, const Value* residual, std::string_view name, std::string_view shift, std::size_t rows,
             std::size_t width, Value* sum = nullptr);
  Value add_class_token(Value hidden);
  Value attend(Value normed, const ImageBatch& image);
  Value mlp(Value normed);
  Value scaled(Value x, std::string_view name);
  void merge(Value hidden, const Value* delta, std::size_t number, bool norm_is_wide, Value into);
  bool has_window() const;

  Program& program_;
  const VisionTower& tower_;
  const std::string type_;
  const std::size_t element_;
  const Weights& weights_;
  const std::size_t workspace_bytes_;
  std::size_t rows_ = 0, layer_ = 0;
};

}  // namespace drought
