#include "scenarios/auto_profile/vision_hold.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::string_view kProcess = "visual server";

// A patch of Qwen2.5-VL is 3 channels x 2 frames x 14 x 14 pixels, of Qwen3-VL 3 x 2 x 16 x 16.
constexpr std::array<VisionTower, 2> kTowers{{
    {.name = "qwen2.5-vl",
     .layers = 32,
     .hidden = 1280,
     .heads = 16,
     .head_dim = 80,
     .ffn = 3420,
     .gated = true,
     .patch_values = 1176},
    {.name = "qwen3-vl",
     .layers = 27,
     .hidden = 1152,
     .heads = 16,
     .head_dim = 72,
     .ffn = 4304,
     .patch_values = 1536},
}};

constexpr std::size_t kElement = 2;

}  // namespace

std::size_t VisionTower::weight_bytes() const {
  const std::size_t mlp_matrices = gated ? 3 : 2;
  return kElement *
         (layers * (4 * hidden * heads * head_dim + mlp_matrices * hidden * ffn) + patch_values * hidden);
}

std::size_t VisionTower::activation_bytes(std::size_t patches) const {
  const std::size_t qkv = 3 * heads * head_dim * kElement;
  const std::size_t rotated = 2 * heads * head_dim * 4;
  const std::size_t mlp = (gated ? 2 : 1) * ffn * kElement;
  return patches * (patch_values * kElement + hidden * kElement + std::max(qkv + rotated, mlp));
}

const VisionTower& vision_tower_named(std::string_view name) {
  std::string known;
  for (const VisionTower& tower : kTowers) {
    if (tower.name == name) return tower;
    known += (known.empty() ? "" : ", ") + std::string(tower.name);
  }
  throw std::invalid_argument("unknown vision tower '" + std::string(name) + "'; known: " + known);
}

VisionHold::VisionHold(Device& device, std::size_t bytes) : device_(device) {
  must(device_.set_peer(kProcess, bytes), "the visual server's hold");
}

VisionHold::~VisionHold() { (void)device_.set_peer(kProcess, 0); }

}  // namespace drought
