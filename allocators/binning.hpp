// RMM's binning resource: a request goes to the smallest bin whose blocks hold it, and one that no bin
// holds goes upstream as it is.
//
// There is a bin of fixed-size blocks for each power of two from 2^min_exponent to 2^max_exponent. Each
// borrows its first chunk at once, so that the bins take twice the largest times blocks_to_preallocate
// before anything is asked for, and an empty bin never takes from a fuller one.
// Rules: rmm/mr/detail/binning_memory_resource_impl; Python's BinningMemoryResource shows 18 and 22.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "allocators/fixed_size.hpp"
#include "harness/scenario/drawn.hpp"

namespace drought {

class Binning final : public Resource, public FallsBack {
 public:
  struct Options {
    std::size_t min_exponent = 18;
    std::size_t max_exponent = 22;
    std::size_t blocks_to_preallocate = 128;  ///< Of every bin, as RMM's add_bin leaves it.
    static constexpr auto keys() {
      return std::tuple{key("min_exponent", &Options::min_exponent),
                        key("max_exponent", &Options::max_exponent),
                        key("blocks_to_preallocate", &Options::blocks_to_preallocate)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn[] = {
      {"min_exponent", 8, 18}, {"max_exponent", 18, 24}, {"blocks_to_preallocate", 1, 16}};

  /// `upstream` and `device` outlive this. Throws std::invalid_argument for exponents below 8 (the
  /// alignment), above 40, or in the wrong order.
  Binning(Resource& upstream, Device& device, Options options) : upstream_(upstream) {
    if (options.min_exponent < 8 || options.max_exponent > 40 || options.min_exponent > options.max_exponent)
      throw std::invalid_argument("binning: exponents must rise from 8 at least to 40 at most");
    for (std::size_t exponent = options.min_exponent; exponent <= options.max_exponent; ++exponent)
      bins_.push_back(std::make_unique<FixedSize>(
          upstream, device,
          FixedSize::Options{.block_bytes = std::size_t{1} << exponent,
                             .blocks_to_preallocate = options.blocks_to_preallocate}));
  }

  void* allocate(Request request) override {
    if (request.bytes == 0) throw std::invalid_argument("binning: a request of no bytes");
    return resource_for(request.bytes).allocate(request);
  }

  /// RMM finds the bin by the size that it is told; so does this, and the bin refuses what it never lent.
  void deallocate(void* block, Request request) noexcept override {
    resource_for(request.bytes).deallocate(block, request);
  }

  std::string_view take_fallback() noexcept override {
    std::string_view first;
    for (const auto& bin : bins_)
      if (const std::string_view what = bin->take_fallback(); first.empty()) first = what;
    return first;
  }

  const FixedSize& bin(std::size_t i) const { return *bins_[i]; }
  std::size_t bins() const { return bins_.size(); }

 private:
  Resource& resource_for(std::size_t bytes) {
    for (const auto& bin : bins_)
      if (bytes <= bin->request_bytes_max()) return *bin;
    return upstream_;
  }

  Resource& upstream_;
  std::vector<std::unique_ptr<FixedSize>> bins_;  // By rising size; at most 33.
};

}  // namespace drought
