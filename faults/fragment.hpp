// Leaves a resource with free memory in pieces: it takes blocks of one size until the resource has no
// more, fills what is left over with smaller ones, and gives every second of the first back. Afterwards
// no hole is larger than hole_bytes and an eighth, so a larger request fails though more bytes than that
// are free. Imitates a server that ran for a week. An allocator that maps pages anew survives it (so does
// cudaMalloc itself); one that cannot must answer a clean OutOfMemory. One that reclaims nothing is left
// with no memory at all.
#pragma once

#include <stdexcept>
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
    Resource& lender = *call.lender;
    std::vector<void*> taken = take_all(lender, options_.hole_bytes);
    // Remainders that no such block fits into would merge with the holes beside them.
    for (std::size_t bytes = options_.hole_bytes / 2; bytes != 0 && bytes >= options_.hole_bytes / 8;
         bytes /= 2)
      for (void* block : take_all(lender, bytes)) kept_.push_back({&lender, block, bytes});
    std::size_t free_bytes = 0;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      if (i % 2 == 0) {
        kept_.push_back({&lender, taken[i], options_.hole_bytes});
      } else {
        lender.deallocate(taken[i], request(options_.hole_bytes));
        free_bytes += options_.hole_bytes;
      }
    }
    Record& record = scene.ledger.record();
    record.decisions.push_back("fragment: " + std::to_string(free_bytes) + " B free in holes of " +
                               std::to_string(options_.hole_bytes) + " B, request " +
                               std::to_string(call.bytes) + " B");
    if (taken.size() == options_.blocks_max)
      record.violate("accounting", "fragment gave up after " + std::to_string(taken.size()) +
                                       " blocks: the resource has no end");
  }

  void release(Scene&) noexcept override {
    for (const Kept& kept : kept_) kept.lender->deallocate(kept.block, request(kept.bytes));
    kept_.clear();
  }

 private:
  struct Kept {
    Resource* lender;
    void* block;
    std::size_t bytes;
  };
  static Request request(std::size_t bytes) { return {.bytes = bytes, .tag = "fault:fragment"}; }

  std::vector<void*> take_all(Resource& lender, std::size_t bytes) const {
    std::vector<void*> taken;
    try {
      while (taken.size() < options_.blocks_max) taken.push_back(lender.allocate(request(bytes)));
    } catch (const OutOfMemory&) {
    }
    return taken;
  }

  const Options options_;
  std::vector<Kept> kept_;
};

}  // namespace drought
