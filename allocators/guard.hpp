// Each block alone in a mapping of its own that ends (or begins) where the block does, with unmapped
// addresses on both sides: an access one element too far ends the context instead of reaching a neighbour,
// at the full speed of the kernel. Electric Fence's idea (Bruce Perens, 1987) on CUDA's VMM calls.
//
// A freed block is unmapped at once, and its addresses lie in a bounded quarantine, first in first out, so
// that a stale pointer faults instead of reading the next owner. The physical memory behind it is kept by
// size and used again, because cuMemCreate is the dear part. What alignment and the granule leave beside a
// block inside its mapping carries a canary, which is looked at when the block is freed.
//
// Like cudaFree, a free waits for the device, so neither call may be made while a stream captures.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Guard final : public Resource, public Trims, public GuardsBlocks {
 public:
  struct Options {
    /// Which end of the block meets unmapped space without a gap: after, before, or none, which leaves no
    /// unmapped space at all. After, the gap is what the request's alignment asks for.
    std::string fence = "after";
    /// On each side at most this much of a block's slack carries a canary, the bytes next to it; 0: none.
    std::size_t canary_bytes = 4_KiB;
    /// Freed blocks whose addresses are not given out again, by number and by address space.
    std::size_t quarantine_blocks = 4096;
    std::size_t quarantine_bytes = 1_TiB;
    static constexpr auto keys() {
      return std::tuple{key("fence", &Options::fence), key("canary_bytes", &Options::canary_bytes),
                        key("quarantine_blocks", &Options::quarantine_blocks),
                        key("quarantine_bytes", &Options::quarantine_bytes)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_fences[] = {"'after'", "'before'", "'none'"};
  static constexpr DrawnOption drawn[] = {{"fence", drawn_fences},
                                          {"canary_bytes", 0, 64_KiB},
                                          {"quarantine_blocks", 0, 64},
                                          {"quarantine_bytes", 0, 1_GiB}};

  /// `device` outlives this. Throws std::invalid_argument for an unknown fence, and for a device without
  /// virtual memory management.
  Guard(Device& device, Options options);
  /// Gives back all but blocks that are still lent, which stay the device's.
  ~Guard() override;

  /// Costs a granule (2 MiB) of memory at least. Alignment above the granule is std::invalid_argument.
  void* allocate(Request request) override;
  /// Where the device cannot be waited for, the block goes back with the next call that can.
  void deallocate(void* block, Request request) noexcept override;

  /// Gives kept physical memory back; addresses in quarantine cost none and stay there. DeviceError.
  std::size_t trim() override;
  std::size_t reserved_bytes() const override { return reserved_bytes_; }
  void report_damage_to(Listener* listener) override { listener_ = listener; }

  /// Blocks whose canary was not whole when they came back, and what was said of the last one.
  std::size_t damaged_blocks() const { return damaged_blocks_; }
  const std::string& last_damage() const { return last_damage_; }
  std::size_t quarantined_blocks() const { return quarantine_.size(); }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  enum class Fence : std::uint8_t { after, before, none };
  struct Guarded {
    Request request;
    std::uintptr_t space = 0, mapping = 0, block = 0;
    std::size_t space_bytes = 0, mapped_bytes = 0;
    MemoryHandle handle;
    bool is_open = false, has_canary = false;
  };
  struct Quarantined {
    std::uintptr_t space = 0;
    std::size_t space_bytes = 0;
  };
  struct Slack {
    std::uintptr_t begin = 0;
    std::size_t bytes = 0;
    std::ptrdiff_t offset = 0;  ///< Of its first byte from the block's.
  };

  static Fence fence_named(const std::string& word);
  void take_memory(Guarded& made);
  void take_addresses(Guarded& made);
  void open(Guarded& made);
  void fill_slack(Guarded& made);
  Slack slack_before(const Guarded& block) const;
  Slack slack_after(const Guarded& block) const;
  [[noreturn]] void refuse(const Request& request, Status status, const char* call);
  void give_up(const Guarded& made);

  Status settle() noexcept;
  Status retire_waiting() noexcept;
  void look_at(const Guarded& block) noexcept;
  std::string damage_of(const Guarded& block) const;
  void close(const Guarded& block) noexcept;
  void quarantine(const Guarded& block) noexcept;
  void release_addresses(std::size_t blocks_left, std::size_t bytes_left) noexcept;
  std::size_t release_idle() noexcept;
  void drop(const Guarded& made) noexcept;

  Device& device_;
  const Options options_;
  const Fence fence_;
  const std::size_t granule_;
  Listener* listener_ = nullptr;
  AddressTable<Guarded> lent_;
  std::map<std::size_t, std::vector<MemoryHandle>> idle_;  ///< By size.
  std::vector<Guarded> waiting_;                           ///< Freed, and the device not yet waited for.
  std::deque<Quarantined> quarantine_;
  std::size_t quarantined_bytes_ = 0, reserved_bytes_ = 0;
  std::size_t damaged_blocks_ = 0, refused_frees_ = 0;
  std::string last_damage_;
};

}  // namespace drought
