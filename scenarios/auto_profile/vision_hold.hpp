// The visual server's half of the reserve-then-yield contract: it runs its worst case before the language
// model starts and never gives the memory back, so that whoever reads the driver's free memory afterwards
// does not count on it. Here it is another process on the same device that holds what a vision tower's
// worst case takes.
#pragma once

#include <cstddef>
#include <string_view>

#include "harness/device/device.hpp"

namespace drought {

/// A vision tower as far as memory goes. Shapes are those of the public configuration files.
struct VisionTower {
  std::string_view name;
  std::size_t layers = 0, hidden = 0, heads = 0, head_dim = 0;
  std::size_t ffn = 0;
  bool gated = false;            ///< Two matrices into the MLP, both of whose outputs live at once.
  std::size_t patch_values = 0;  ///< Of one patch as the tower takes it: channels, frames and pixels.

  /// In 2-byte elements.
  std::size_t weight_bytes() const;
  /// Most that lives at once while `patches` go through one layer with attention that keeps no scores:
  /// pixels, hidden states, and the larger of queries, keys and values with their rotated copies in fp32,
  /// or the MLP. 65,536 patches of Qwen2.5-VL: 147 + 160 MiB, then 480 + 640 MiB or 855 MiB.
  std::size_t activation_bytes(std::size_t patches) const;
};

/// Throws std::invalid_argument that names the known towers.
const VisionTower& vision_tower_named(std::string_view name);

/// Another process on `device` that holds `bytes` while this lives. The device outlives it.
class VisionHold {
 public:
  /// Throws DeviceError when the bytes are not there.
  VisionHold(Device& device, std::size_t bytes);
  ~VisionHold();
  VisionHold(const VisionHold&) = delete;
  VisionHold& operator=(const VisionHold&) = delete;

 private:
  Device& device_;
};

}  // namespace drought
