// Another process on the same device gives memory back, or all of it. Imitates a training job between two
// epochs, a visual server that unloads a model. Memory that was refused is there a moment later, so whoever
// gave up for good, or sized itself for ever by what was free once, has lost something. Survivable by all.
#pragma once

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class PeerShrinks final : public Fault {
 public:
  struct Options {
    std::string peer = "peer 0";  ///< As the device calls it: the first of `peer_bytes` is "peer 0".
    std::size_t bytes = 1_GiB;    ///< What it gives back at each strike, but never its last byte.
    static constexpr auto keys() {
      return std::tuple{key("peer", &Options::peer), key("bytes", &Options::bytes)};
    }
  };
  explicit PeerShrinks(Options options) : options_(std::move(options)) {
    if (options_.bytes == 0) throw std::invalid_argument("peer_shrinks needs bytes above 0");
  }

  bool can_strike(Site) const override { return true; }
  void strike(Call&, Scene& scene) override {
    const std::size_t held = scene.device.peer_bytes(options_.peer);
    if (held == 0) return;
    before_.try_emplace(&scene.device, held);
    (void)scene.device.set_peer(options_.peer,
                                std::max<std::size_t>(held - std::min(held, options_.bytes), 1));
  }
  /// The peer holds again what it held, as far as there is room.
  void release(Scene&) noexcept override {
    for (const auto& [device, bytes] : before_) (void)device->set_peer(options_.peer, bytes);
    before_.clear();
  }

 private:
  const Options options_;
  std::map<Device*, std::size_t> before_;
};

}  // namespace drought
