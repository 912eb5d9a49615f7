// A model's weights, in memory of the resource under test: a buffer for each matrix, as engines load them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "scenarios/auto_profile/peak_meter.hpp"
#include "scenarios/models/model.hpp"
#include "scenarios/models/program.hpp"

namespace drought {

class Weights {
 public:
  /// Allocates every matrix of the list, with elements as `model` has them, and fills them in full mode with
  /// seeded numbers whose products keep the size of what they multiply. Throws what the resource throws,
  /// DeviceError.
  Weights(Rig& rig, const Model& model, const std::vector<WeightMatrix>& list, PeakMeter& meter);

  std::size_t bytes() const { return bytes_; }
  /// What the matrix was filled with, drawn once more: whatever became of it on the device since. Throws
  /// std::logic_error when the model has none of this name.
  std::vector<double> drawn(std::string_view name, std::size_t layer = WeightMatrix::no_layer) const;
  /// The matrix as a value of a program. Throws std::logic_error when the model has none of this name.
  Program::Value value(Program& program, std::string_view name,
                       std::size_t layer = WeightMatrix::no_layer) const;

 private:
  struct Held {
    WeightMatrix matrix;
    std::uint64_t number;  ///< In the list.
    Buffer buffer;
  };
  std::vector<std::byte> numbers(const WeightMatrix& matrix, std::uint64_t number) const;
  const Held& held(std::string_view name, std::size_t layer) const;

  const std::string type_;
  const std::uint64_t seed_;
  std::map<std::pair<std::size_t, std::string_view>, Held> held_;
  std::size_t bytes_ = 0;
};

/// Numbers near N(0, scale^2) of `type`; for norms, around one. The same seed gives the same bits everywhere.
std::vector<std::byte> weight_numbers(std::string_view type, std::size_t count, double scale, double around,
                                      std::uint64_t seed, std::uint64_t stream);

}  // namespace drought
