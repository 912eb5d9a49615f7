#include "scenarios/models/image_layout.hpp"

#include <algorithm>

namespace drought {

ImageLayout::ImageLayout(const VisionTower& tower, std::size_t patches) : merge_(tower.merge) {
  const std::size_t squares = patches / (merge_ * merge_);
  std::size_t down = 1;
  for (std::size_t i = 1; i * i <= squares; ++i)
    if (squares % i == 0) down = i;
  rows_ = down * merge_;
  columns_ = squares / down * merge_;
  const std::size_t across = columns_ / merge_;
  // A window's side in squares; one window that holds the image where there are none.
  const std::size_t side =
      tower.window == 0 ? std::max(down, across) : std::max<std::size_t>(tower.window / merge_, 1);
  for (std::size_t top = 0; top < down; top += side)
    for (std::size_t left = 0; left < across; left += side) {
      window_starts_.push_back(patch_order_.size());
      for (std::size_t row = top; row < std::min(top + side, down); ++row)
        for (std::size_t column = left; column < std::min(left + side, across); ++column) {
          token_order_.push_back(static_cast<std::int32_t>(row * across + column));
          for (std::size_t i = 0; i < merge_ * merge_; ++i)
            patch_order_.push_back(static_cast<std::int32_t>((row * merge_ + i / merge_) * columns_ +
                                                             column * merge_ + i % merge_));
        }
    }
  window_starts_.push_back(patch_order_.size());
}

std::vector<std::int32_t> ImageLayout::patch_positions() const {
  const auto width = static_cast<std::int32_t>(columns_);
  std::vector<std::int32_t> positions;
  for (const std::int32_t patch : patch_order_) positions.push_back(patch / width);
  for (const std::int32_t patch : patch_order_) positions.push_back(patch % width);
  return positions;
}

std::vector<std::int32_t> token_positions(const Rope::Shape& rope, const ImageLayout* image,
                                          std::size_t first, std::size_t count) {
  const std::size_t axes = std::max<std::size_t>(rope.sections.size(), 1);
  const std::size_t shown = image && axes == 3 ? image->tokens() : 0;
  std::vector<std::int32_t> positions;
  for (std::size_t axis = 0; axis < axes; ++axis)
    for (std::size_t token = first; token < first + count; ++token) {
      std::size_t at = token;
      if (token < shown)
        at = axis == 0 ? 0 : axis == 1 ? token / image->token_columns() : token % image->token_columns();
      else if (shown != 0)
        at = token - shown + std::max(image->token_rows(), image->token_columns());
      positions.push_back(static_cast<std::int32_t>(at));
    }
  return positions;
}

}  // namespace drought
