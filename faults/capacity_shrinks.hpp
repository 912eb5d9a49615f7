// The device has less memory from now on: cudaMemGetInfo's total falls, and so does what is free, at once or
// as memory comes back. Imitates a container's limit that is lowered while it runs (HAMi-core's
// CUDA_DEVICE_MEMORY_LIMIT, PyTorch's per-process fraction). Survivable: what is held stays; whoever sized
// itself by the first answer must take a refusal, and not count on the total that it read at start-up.
#pragma once

#include <algorithm>
#include <map>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/fault/plan.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class CapacityShrinks final : public Fault {
 public:
  struct Options {
    std::size_t bytes = 1_GiB;  ///< By how much at each strike.
    static constexpr auto keys() { return std::tuple{key("bytes", &Options::bytes)}; }
  };
  explicit CapacityShrinks(Options options) : bytes_(options.bytes) {
    if (bytes_ == 0) throw std::invalid_argument("capacity_shrinks needs bytes above 0");
  }

  bool can_strike(Site) const override { return true; }
  void strike(Call&, Scene& scene) override {
    Loss& loss = losses_[&scene.device];
    loss.bytes += bytes_;
    take(scene.device, loss);
  }

  bool watches() const override { return true; }
  void answered(Call& call, Status status, bool, Scene& scene) override {
    const auto found = losses_.find(&scene.device);
    if (found == losses_.end()) return;
    if (gives_back(call.site)) take(scene.device, found->second);
    if (call.site == Site::cudaMemGetInfo && status == Status::success && call.info)
      call.info->total_bytes -= std::min(call.info->total_bytes, found->second.bytes);
  }

  void release(Scene&) noexcept override {
    for (const auto& [device, loss] : losses_)
      for (void* block : loss.blocks) (void)device->free(block);
    losses_.clear();
  }

 private:
  struct Loss {
    std::size_t bytes = 0, taken_bytes = 0;
    std::vector<void*> blocks;
  };

  /// Takes what the device owes as far as it is free, in whole granules.
  static void take(Device& device, Loss& loss) {
    const std::size_t step = device.profile().granularity_bytes;
    MemInfo info;
    if (loss.taken_bytes >= loss.bytes || device.mem_info(info) != Status::success) return;
    const std::size_t owed = round_up(loss.bytes - loss.taken_bytes, step);
    const std::size_t taken = std::min(owed, round_down(info.free_bytes, step));
    void* block = nullptr;
    if (taken == 0 || device.malloc(block, taken, "fault:capacity_shrinks") != Status::success) return;
    loss.blocks.push_back(block);
    loss.taken_bytes += taken;
  }

  const std::size_t bytes_;
  std::map<Device*, Loss> losses_;
};

}  // namespace drought
