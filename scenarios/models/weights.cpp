#include "scenarios/models/weights.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/shape.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {

std::vector<std::byte> weight_numbers(std::string_view type, std::size_t count, double scale, double around,
                                      std::uint64_t seed, std::uint64_t stream) {
  std::vector<float> drawn(count);
  fill_normal("fp32", seed, stream, std::as_writable_bytes(std::span(drawn)));
  for (float& number : drawn) number = static_cast<float>(around + number * scale);
  const auto wide = std::as_bytes(std::span(drawn));
  if (type == "fp32") return {wide.begin(), wide.end()};
  std::vector<std::byte> narrow(count * sizeof(bf16));
  for (std::size_t i = 0; i < count; ++i) {
    const bf16 rounded = from_float<bf16>(drawn[i]);
    std::memcpy(&narrow[i * sizeof rounded], &rounded, sizeof rounded);
  }
  return narrow;
}

Weights::Weights(Rig& rig, const Model& model, const std::vector<WeightMatrix>& list, PeakMeter& meter)
    : type_(model.type) {
  std::uint64_t number = 0;
  for (const WeightMatrix& matrix : list) {
    const std::size_t bytes = matrix.bytes(model);
    Buffer buffer(rig.memory(), {.bytes = bytes, .tag = "weights"});
    meter.note();
    if (rig.full()) fill(rig, matrix, buffer, number);
    ++number;
    bytes_ += bytes;
    buffers_.emplace(std::pair(matrix.layer, matrix.name), std::move(buffer));
  }
  must(rig.device().synchronize(), "cudaDeviceSynchronize");
}

void Weights::fill(Rig& rig, const WeightMatrix& matrix, Buffer& buffer, std::uint64_t number) const {
  const bool is_norm = matrix.kind == WeightMatrix::Kind::norm;
  const bool is_table = matrix.name == "embedding";
  const double scale = is_norm || matrix.kind == WeightMatrix::Kind::bias ? 0.1
                       : is_table                                         ? 1.0
                                  : 1 / std::sqrt(static_cast<double>(matrix.columns));
  const auto numbers =
      weight_numbers(type_, matrix.elements(), scale, is_norm ? 1 : 0, rig.seed(), 0x57 + number);
  must(rig.device().memcpy(buffer.data(), numbers.data(), numbers.size()), "cudaMemcpy");
  must(rig.device().stream_synchronize({}), "cudaStreamSynchronize");
}

Program::Value Weights::value(Program& program, std::string_view name, std::size_t layer) const {
  const auto found = buffers_.find(std::pair(layer, name));
  if (found == buffers_.end()) throw std::logic_error("the model has no weights '" + std::string(name) + "'");
  return program.given(found->first.second, found->second.data(), found->second.bytes());
}

}  // namespace drought
