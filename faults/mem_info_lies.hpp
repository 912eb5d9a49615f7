// cudaMemGetInfo answers what is not so: what was free some time ago, or more or less than there is.
// Imitates a driver that frees in the background, WDDM and unified memory (where free memory is an opinion),
// a vGPU shim that reports its own cap, and every peer that allocates between the question and the use.
// Survivable: free memory is a hint; whoever sizes by it must still take a refusal.
#pragma once

#include <algorithm>
#include <map>
#include <stdexcept>
#include <tuple>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class MemInfoLies final : public Fault {
 public:
  struct Options {
    std::size_t more_bytes = 0;  ///< Adds to what is free, up to the total.
    std::size_t less_bytes = 0;  ///< Takes from what is free, down to nothing. Neither: the answer is the
                                 ///< one that the first call of the run got.
    static constexpr auto keys() {
      return std::tuple{key("more_bytes", &Options::more_bytes), key("less_bytes", &Options::less_bytes)};
    }
  };
  /// Throws std::invalid_argument when it is told two ways to lie.
  explicit MemInfoLies(Options options) : options_(options) {
    if (options_.more_bytes != 0 && options_.less_bytes != 0)
      throw std::invalid_argument("mem_info_lies takes more_bytes or less_bytes");
  }

  bool can_strike(Site site) const override { return site == Site::cudaMemGetInfo; }
  void strike(Call&, Scene&) override {}

  bool watches() const override { return is_stale(); }
  void answered(Call& call, Status status, bool struck, Scene& scene) override {
    if (call.site != Site::cudaMemGetInfo || status != Status::success || !call.info) return;
    MemInfo& info = *call.info;
    const MemInfo first = first_.try_emplace(&scene.device, info).first->second;
    if (!struck) return;
    if (is_stale()) info = first;
    info.free_bytes += std::min(options_.more_bytes, info.total_bytes - info.free_bytes);
    info.free_bytes -= std::min(options_.less_bytes, info.free_bytes);
  }

 private:
  bool is_stale() const { return options_.more_bytes == 0 && options_.less_bytes == 0; }

  const Options options_;
  std::map<Device*, MemInfo> first_;
};

}  // namespace drought
