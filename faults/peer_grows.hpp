// Another process on the same device takes memory. Imitates the visual server that starts its second
// model, a notebook, a desktop: memory that was free when it was measured is gone when it is used.
#pragma once

#include <algorithm>
#include <map>
#include <tuple>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class PeerGrows final : public Fault {
 public:
  struct Options {
    std::size_t bytes = 0;        ///< What the peer takes at each strike; 0: use leave_bytes.
    std::size_t leave_bytes = 0;  ///< The peer takes all that is free but this.
    static constexpr auto keys() {
      return std::tuple{key("bytes", &Options::bytes), key("leave_bytes", &Options::leave_bytes)};
    }
  };
  explicit PeerGrows(Options options) : options_(options) {}

  bool can_strike(Site) const override { return true; }
  void strike(Call&, Scene& scene) override {
    MemInfo info;
    if (scene.device.mem_info(info) != Status::success) return;
    std::size_t& held_bytes = held_bytes_[&scene.device];
    const std::size_t context = held_bytes == 0 ? scene.device.profile().peer_context_bytes : 0;
    const std::size_t room = info.free_bytes > context ? info.free_bytes - context : 0;
    const std::size_t spare = room > options_.leave_bytes ? room - options_.leave_bytes : 0;
    const std::size_t taken = options_.bytes != 0 ? std::min(options_.bytes, room) : spare;
    const Status status = scene.device.set_peer("fault:peer_grows", held_bytes + taken);
    if (status == Status::success) held_bytes += taken;
  }
  void release(Scene&) noexcept override {
    for (const auto& [device, bytes] : held_bytes_)
      if (bytes != 0) (void)device->set_peer("fault:peer_grows", 0);
    held_bytes_.clear();
  }

 private:
  const Options options_;
  std::map<Device*, std::size_t> held_bytes_;  ///< Of the peer on each device; heal() comes before they end.
};

}  // namespace drought
