// One bit of device memory turns over, as a stray write through a stale pointer or a cosmic ray would have
// it. In a block that was just freed it is survivable: an allocator that keeps its lists inside free blocks
// must notice before it hands the block out again; one that keeps them outside must not care. In a live block
// it is data that is wrong: whoever promises exact output must find out.
#pragma once

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/fault/plan.hpp"
#include "harness/memory/ledger.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class BitFlip final : public Fault {
 public:
  struct Options {
    bool live = false;      ///< false: in the block that is freed, once it is free.
    std::string tag = "*";  ///< Glob: of the live blocks among which chance picks the one to hit.
    std::size_t byte = 0;   ///< Offset in the block, modulo its size.
    unsigned bit = 0;
    static constexpr auto keys() {
      return std::tuple{key("live", &Options::live), key("tag", &Options::tag), key("byte", &Options::byte),
                        key("bit", &Options::bit)};
    }
  };
  explicit BitFlip(Options options) : options_(std::move(options)) {
    if (options_.bit > 7) throw std::invalid_argument("bit must be 0 to 7");
    if (!options_.live && options_.tag != "*")
      throw std::invalid_argument("tag picks a live block; of the freed one the trigger asks");
  }

  bool can_strike(Site site) const override {
    return options_.live ? !gives_back(site) : site == Site::deallocate;
  }
  void strike(Call&, Scene& scene) override {
    if (!options_.live) return;
    std::vector<const Allocation*> blocks;
    for (const Account* account : scene.ledger.accounts()) {
      const auto lends_to = [&](const Account* other) { return other->below() == account; };
      const auto& accounts = scene.ledger.accounts();
      if (std::any_of(accounts.begin(), accounts.end(), lends_to)) continue;
      for (const auto& [begin, block] : account->live())
        if (glob_matches(options_.tag, block.request.tag.view())) blocks.push_back(&block);
    }
    if (blocks.empty()) return note(scene, "no live block");
    const Allocation& hit = *blocks[scene.random.below(blocks.size())];
    flip(scene, reinterpret_cast<void*>(hit.begin), hit.request.bytes, hit.request.tag);
  }
  void answered(Call& call, Status, bool, Scene& scene) override {
    if (!options_.live) flip(scene, const_cast<void*>(call.data), call.bytes, call.tag);
  }

 private:
  static void note(Scene& scene, const std::string& what) {
    scene.ledger.record().decisions.push_back("bit_flip: " + what);
  }

  void flip(Scene& scene, void* block, std::size_t bytes, Tag tag) const {
    const std::size_t offset = options_.byte % bytes;
    std::byte* const at = static_cast<std::byte*>(block) + offset;
    std::byte value{};
    Device& device = scene.device;
    // Memory that went back to the driver is not there to be hit.
    const bool hit =
        device.memcpy(&value, at, 1) == Status::success &&
        (value ^= std::byte{1} << options_.bit, device.memcpy(at, &value, 1) == Status::success) &&
        device.stream_synchronize({}) == Status::success;
    note(scene, hit ? "byte " + std::to_string(offset) + " of '" + std::string(tag.view()) + "'"
                    : "'" + std::string(tag.view()) + "' is unmapped");
  }

  const Options options_;
};

}  // namespace drought
