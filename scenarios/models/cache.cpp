#include "scenarios/models/cache.hpp"

#include "kernels/shape.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kPoison = 0xFF;  // Every IEEE format reads it as NaN.

}  // namespace

SequenceCache::SequenceCache(Rig& rig, const Model& model, Size size, PeakMeter& meter)
    : size_(size), order_(permutation(pages(), rig.seed())) {
  const std::size_t linear_layers = model.layers - model.cached_layers();
  for (std::size_t layer = 0; layer < model.layers; ++layer) {
    const bool full = model.attends_in_full(layer);
    const std::size_t halves = full && model.latent.kv_rank == 0 ? 2 : 1;
    const std::size_t each =
        full ? rows() * model.row_bytes() : size_.sequences * (model.state_bytes() / linear_layers);
    std::vector<Buffer>& made = layers_.emplace_back();
    for (std::size_t half = 0; half < halves; ++half) {
      made.emplace_back(rig.memory(), Request{.bytes = each, .tag = full ? "kv_pages" : "state"});
      meter.note();
      bytes_ += each;
      must(rig.device().memset(made.back().data(), full ? kPoison : 0, each), "cudaMemset");
    }
  }
}

Program::Value SequenceCache::pages_of(Program& program, std::size_t layer, std::size_t half) const {
  const Buffer& buffer = layers_.at(layer).at(half);
  return program.given("kv_pages", buffer.data(), buffer.bytes());
}

Program::Value SequenceCache::state_of(Program& program, std::size_t layer) const {
  const Buffer& buffer = layers_.at(layer).at(0);
  return program.given("state", buffer.data(), buffer.bytes());
}

std::int32_t SequenceCache::slot(std::size_t sequence, std::size_t at) const {
  const auto width = static_cast<std::int32_t>(size_.page_size);
  return page(sequence, at / size_.page_size) * width + static_cast<std::int32_t>(at % size_.page_size);
}

}  // namespace drought
