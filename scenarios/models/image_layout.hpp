// How an image's patches lie, in which order a tower takes them, and where its tokens stand in a prompt.
//
// A tower takes windows one after the other, in each window the squares that become a token, and in each
// square its patches, so that windows and merging are a matter of how rows follow each other
// (Qwen2.5-VL's window_index; a tower without windows has one, the image).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "scenarios/models/model.hpp"

namespace drought {

class ImageLayout {
 public:
  ImageLayout() = default;
  /// The grid of `patches`, a multiple of merge x merge, that is nearest to a square, and no taller than
  /// wide.
  ImageLayout(const VisionTower& tower, std::size_t patches);

  std::size_t rows() const { return rows_; }  ///< Of patches.
  std::size_t columns() const { return columns_; }
  std::size_t patches() const { return rows_ * columns_; }
  std::size_t token_rows() const { return rows_ / merge_; }
  std::size_t token_columns() const { return columns_ / merge_; }
  std::size_t tokens() const { return token_rows() * token_columns(); }

  /// The patch that is the tower's nth, as it is numbered row after row of the image.
  const std::vector<std::int32_t>& patch_order() const { return patch_order_; }
  /// The token that is the tower's nth, numbered likewise.
  const std::vector<std::int32_t>& token_order() const { return token_order_; }
  /// [2][patches]: row and column of each patch, in the tower's order.
  std::vector<std::int32_t> patch_positions() const;
  /// Where windows begin in the tower's order, and the number of patches.
  const std::vector<std::size_t>& window_starts() const { return window_starts_; }

 private:
  std::size_t rows_ = 0, columns_ = 0, merge_ = 1;
  std::vector<std::int32_t> patch_order_, token_order_;
  std::vector<std::size_t> window_starts_;
};

/// [axes][count]: where the tokens [first, first + count) of a prompt stand for rotation. With three axes the
/// tokens of an image at its start stand at their rows and columns, and text goes on behind the image's
/// longer side, on all axes alike (Qwen2-VL's get_rope_index): a position is then not the token's number any
/// more. `image` may be null.
std::vector<std::int32_t> token_positions(const Rope::Shape& rope, const ImageLayout* image,
                                          std::size_t first, std::size_t count);

}  // namespace drought
