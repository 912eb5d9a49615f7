// What a model remembers of its sequences: keys and values in pages of the full layers, a state of fixed size
// in the linear ones; and which page belongs to whom. Pages are dealt out in an order drawn from the seed, so
// that no sequence's lie side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "scenarios/auto_profile/peak_meter.hpp"
#include "scenarios/models/model.hpp"
#include "scenarios/models/program.hpp"

namespace drought {

class SequenceCache {
 public:
  struct Size {
    std::size_t sequences = 0, tokens_max = 0;  ///< Of each sequence.
    std::size_t page_size = 16;
  };
  /// Allocates pages for every sequence at its longest and poisons them. Throws what the resource throws,
  /// DeviceError.
  SequenceCache(Rig& rig, const Model& model, Size size, PeakMeter& meter);

  std::size_t pages() const { return size_.sequences * pages_each(); }
  std::size_t pages_each() const { return (size_.tokens_max + size_.page_size - 1) / size_.page_size; }
  std::size_t rows() const { return pages() * size_.page_size; }
  const Size& size() const { return size_; }
  std::size_t bytes() const { return bytes_; }

  /// Of a layer that attends in full; `half` 0 keys (or latent rows), 1 values.
  Program::Value pages_of(Program& program, std::size_t layer, std::size_t half) const;
  /// Of a linear layer, for all sequences.
  Program::Value state_of(Program& program, std::size_t layer) const;

  /// Where token `at` of a sequence lies: a row of the pool.
  std::int32_t slot(std::size_t sequence, std::size_t at) const;
  std::int32_t page(std::size_t sequence, std::size_t number) const {
    return order_[sequence * pages_each() + number];
  }

 private:
  const Size size_;
  std::vector<std::int32_t> order_;
  std::vector<std::vector<Buffer>> layers_;  ///< Two halves, or one latent half, or a state.
  std::size_t bytes_ = 0;
};

}  // namespace drought
