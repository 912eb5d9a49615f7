#include "scenarios/models/weights.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/oracle.hpp"
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
    : type_(model.type), seed_(rig.seed()) {
  std::uint64_t number = 0;
  for (const WeightMatrix& matrix : list) {
    const std::size_t bytes = matrix.bytes(model);
    Buffer buffer(rig.memory(), {.bytes = bytes, .tag = "weights"});
    meter.note();
    if (rig.full()) {
      const std::vector<std::byte> content = numbers(matrix, number);
      must(rig.device().memcpy(buffer.data(), content.data(), content.size()), "cudaMemcpy");
      must(rig.device().stream_synchronize({}), "cudaStreamSynchronize");
    }
    bytes_ += bytes;
    held_.emplace(std::pair(matrix.layer, matrix.name), Held{matrix, number, std::move(buffer)});
    ++number;
  }
  must(rig.device().synchronize(), "cudaDeviceSynchronize");
}

std::vector<std::byte> Weights::numbers(const WeightMatrix& matrix, std::uint64_t number) const {
  const bool is_norm = matrix.kind == WeightMatrix::Kind::norm;
  const bool is_table = matrix.name == "embedding";
  const double scale = is_norm || matrix.kind == WeightMatrix::Kind::bias ? 0.1
                       : is_table                                         ? 1.0
                                  : 1 / std::sqrt(static_cast<double>(matrix.columns));
  return weight_numbers(type_, matrix.elements(), scale, is_norm ? 1 : 0, seed_, 0x57 + number);
}

const Weights::Held& Weights::held(std::string_view name, std::size_t layer) const {
  const auto found = held_.find(std::pair(layer, name));
  if (found == held_.end()) throw std::logic_error("the model has no weights '" + std::string(name) + "'");
  return found->second;
}

std::vector<double> Weights::drawn(std::string_view name, std::size_t layer) const {
  const Held& held = this->held(name, layer);
  const HostTensor values(numbers(held.matrix, held.number), type_, {held.matrix.elements()});
  const auto all = values.row({});
  return {all.begin(), all.end()};
}

Program::Value Weights::value(Program& program, std::string_view name, std::size_t layer) const {
  const Held& held = this->held(name, layer);
  return program.given(held.matrix.name, held.buffer.data(), held.buffer.bytes());
}

}  // namespace drought
