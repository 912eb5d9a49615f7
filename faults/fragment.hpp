// Leaves a resource with free memory in pieces: it takes blocks of one size until the resource has no
// more, then gives every second one back. Afterwards the free bytes are at least the request, and no
// hole is larger than hole_bytes, so a larger request fails though the memory is there. Imitates a
// server that ran for a week. An allocator that merges, or maps pages anew, survives it; one that can
// do neither must answer a clean OutOfMemory.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "harness/fault/fault.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/ledger.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Fragment final : public Fault {
 public:
  struct Options {
    std::size_t hole_bytes = 2_MiB;
    std::size_t blocks_max = 1'000'000;  ///< Gives up, loudly, rather than take for ever.
    static constexpr auto keys() {
      return std::tuple{key("hole_bytes", &Options::hole_bytes), key("blocks_max", &Options::blocks_max)};
    }
  };
  explicit Fragment(Options options) : options_(options) {
    if (options_.hole_bytes == 0) throw std::invalid_argument("hole_bytes must be above 0");
  }

  bool can_strike(Site site) const override { return site == Site::allocate; }

  void strike(Call& call, Scene& scene) override {
    lender_ = call.lender;
    std::vector<void*> taken;
    try {
      while (taken.size() < options_.blocks_max) taken.push_back(lender_->allocate(request()));
    } catch (const OutOfMemory&) {
    }
    std::size_t free_bytes = 0;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      if (i % 2 == 0) {
        kept_.push_back(taken[i]);
      } else {
        lender_->deallocate(taken[i], request());
        free_bytes += options_.hole_bytes;
      }
    }
    scene.ledger.record().decisions.push_back("fragment: " + std::to_string(free_bytes) + " B free in holes of " +
                                              std::to_string(options_.hole_bytes) + " B, request " +
                                              std::to_string(call.bytes) + " B");
    if (taken.size() == options_.blocks_max)
      scene.ledger.record().violate("accounting", "fragment gave up after " + std::to_string(taken.size()) +
                                                      " blocks: the resource has no end");
  }

  void release(Scene&) noexcept override {
    for (void* block : kept_) lender_->deallocate(block, request());
    kept_.clear();
  }

 private:
  Request request() const { return {.bytes = options_.hole_bytes, .tag = "fault:fragment"}; }

  const Options options_;
  Resource* lender_ = nullptr;
  std::vector<void*> kept_;
};

}  // namespace drought
