// Leaves a resource with free memory in pieces: it takes blocks of one size until the resource has no
// more, fills what is left over with smaller ones, and gives some of the first back, none beside another:
// every second, or `holes` of them, or as few as leave `fraction` of the free memory outside the largest
// hole. Afterwards no hole is larger than hole_bytes and an eighth, so a larger request fails though more
// bytes than that are free; with `prove` it must, and a resource for which it does not fails the run.
// Imitates a server that ran for a week. An allocator that maps pages anew survives it (so does cudaMalloc
// itself); one that cannot must answer a clean OutOfMemory. One that reclaims nothing has nothing left.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/ledger.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Fragment final : public Fault {
 public:
  struct Options {
    std::size_t hole_bytes = 2_MiB;
    std::size_t holes = 0;  ///< 0: every second block becomes one.
    double fraction = 0;    ///< Of free memory outside the largest hole, at the least; 0: no target.
    bool prove = false;     ///< The struck request must be one that free memory covers and no hole does.
    std::size_t blocks_max = 1'000'000;  ///< Gives up, loudly, rather than take for ever.
    static constexpr auto keys() {
      return std::tuple{key("hole_bytes", &Options::hole_bytes), key("holes", &Options::holes),
                        key("fraction", &Options::fraction), key("prove", &Options::prove),
                        key("blocks_max", &Options::blocks_max)};
    }
  };
  explicit Fragment(Options options) : options_(options) {
    if (options_.hole_bytes == 0) throw std::invalid_argument("hole_bytes must be above 0");
    if (!(options_.fraction >= 0 && options_.fraction < 1))
      throw std::invalid_argument("fraction must be 0 or more and below 1");
    if (options_.holes != 0 && options_.fraction != 0)
      throw std::invalid_argument("fragment takes holes or fraction: one follows from the other");
  }

  bool can_strike(Site site) const override { return site == Site::allocate; }

  void strike(Call& call, Scene& scene) override {
    Resource& lender = *call.lender;
    Record& record = scene.ledger.record();
    const std::size_t device_bytes = scene.device.profile().total_bytes;
    std::vector<void*> taken = take_all(lender, options_.hole_bytes, device_bytes);
    if (is_endless(taken.size(), device_bytes)) {
      for (void* block : taken) lender.deallocate(block, request(options_.hole_bytes));
      record.decisions.push_back("fragment: nothing, the resource has no end");
      if (has_target() || taken.size() == options_.blocks_max)
        record.violate("accounting", "fragment gave up after " + std::to_string(taken.size()) +
                                         " blocks: the resource has no end");
      return;
    }
    // Remainders that no such block fits into would merge with the holes beside them.
    for (std::size_t bytes = options_.hole_bytes / 2; bytes != 0 && bytes >= options_.hole_bytes / 8;
         bytes /= 2)
      for (void* block : take_all(lender, bytes, device_bytes)) kept_.push_back({&lender, block, bytes});
    std::size_t holes = 0;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      if (i % 2 == 0 || holes == holes_max()) {
        kept_.push_back({&lender, taken[i], options_.hole_bytes});
      } else {
        lender.deallocate(taken[i], request(options_.hole_bytes));
        ++holes;
      }
    }
    const std::size_t free_bytes = holes * options_.hole_bytes;
    record.decisions.push_back("fragment: " + std::to_string(free_bytes) + " B free in holes of " +
                               std::to_string(options_.hole_bytes) + " B, request " +
                               std::to_string(call.bytes) + " B");
    if (options_.holes != 0 && holes < options_.holes)
      record.violate("accounting", "fragment made " + std::to_string(holes) + " holes of " +
                                       std::to_string(options_.holes) + ": the resource has no more");
    if (options_.prove) prove(lender, call, free_bytes, record);
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

  /// Of n equal holes, 1 - 1/n of the free memory lies outside the largest.
  std::size_t holes_max() const {
    if (options_.fraction == 0) return options_.holes == 0 ? options_.blocks_max : options_.holes;
    return static_cast<std::size_t>(std::ceil(1 / (1 - options_.fraction) - 1e-9));
  }

  /// That more is free than is asked for, and that it is refused: with the resource's own word.
  void prove(Resource& lender, const Call& call, std::size_t free_bytes, Record& record) const {
    bool refused = false;
    try {
      const Request same{.bytes = call.bytes, .stream = call.stream, .tag = "fault:fragment"};
      lender.deallocate(lender.allocate(same), same);
    } catch (const OutOfMemory&) {
      refused = true;
    }
    const bool proven = refused && free_bytes >= call.bytes;
    record.decisions.push_back("fragment: proven=" + std::to_string(proven));
    if (!proven)
      record.violate("accounting", "fragment proves nothing: " + std::to_string(free_bytes) +
                                       " B are free, and a request of " + std::to_string(call.bytes) +
                                       " B is " + (refused ? "refused" : "served"));
  }

  bool has_target() const { return options_.holes != 0 || options_.fraction != 0 || options_.prove; }
  /// Managed memory, say, is lent beyond what the device has.
  bool is_endless(std::size_t blocks, std::size_t device_bytes) const {
    return blocks == options_.blocks_max || blocks > device_bytes / options_.hole_bytes;
  }

  std::vector<void*> take_all(Resource& lender, std::size_t bytes, std::size_t device_bytes) const {
    const std::size_t most = std::min(options_.blocks_max, device_bytes / bytes + 1);
    std::vector<void*> taken;
    try {
      while (taken.size() < most) taken.push_back(lender.allocate(request(bytes)));
    } catch (const OutOfMemory&) {
    }
    return taken;
  }

  const Options options_;
  std::vector<Kept> kept_;
};

}  // namespace drought
