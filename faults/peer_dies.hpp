// Another process on the same device ends, and its memory and context with it. Imitates a neighbour that is
// killed: the driver takes everything back, without a word to anybody. Survivable by all; whoever leased
// something of it has lost that.
#pragma once

#include <map>
#include <string>
#include <tuple>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class PeerDies final : public Fault {
 public:
  struct Options {
    std::string peer = "peer 0";  ///< As the device calls it: the first of `peer_bytes` is "peer 0".
    static constexpr auto keys() { return std::tuple{key("peer", &Options::peer)}; }
  };
  explicit PeerDies(Options options) : peer_(std::move(options.peer)) {}

  bool can_strike(Site) const override { return true; }
  void strike(Call&, Scene& scene) override {
    const std::size_t held = scene.device.peer_bytes(peer_);
    if (held == 0) return;
    before_.try_emplace(&scene.device, held);
    (void)scene.device.set_peer(peer_, 0);
  }
  /// It starts again with what it held, as far as there is room.
  void release(Scene&) noexcept override {
    for (const auto& [device, bytes] : before_) (void)device->set_peer(peer_, bytes);
    before_.clear();
  }

 private:
  const std::string peer_;
  std::map<Device*, std::size_t> before_;
};

}  // namespace drought
