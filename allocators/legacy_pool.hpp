// llama.cpp's legacy CUDA pool (ggml_cuda_pool_leg), which backs kernel scratch where VMM is missing.
// It keeps up to 256 idle blocks and hands out the one that fits best; a miss asks upstream for 5 %
// more than is wanted. Blocks are never split or merged, and one with 64 GiB or more to spare is never
// used, so a request that grows step by step strands a block at nearly every step.
//
// flush_and_retry is llama.cpp PR 22155: on out of memory wait for the device, give every idle block
// back, and try once more. Without it the first refusal is final. `bug` switches on one way to get
// that wrong, for scenarios that must catch it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <tuple>

#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class LegacyPool final : public Resource, public Trims, public Retries {
 public:
  struct Options {
    bool flush_and_retry = true;
    /// none; no_flush: out of memory is final although flush_and_retry is on; drop_live: the flush
    /// also gives back a block that is in use; second_retry: tries three times in all; double_free: a
    /// block that is freed again becomes idle again, so that it is lent twice, as in the original.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("flush_and_retry", &Options::flush_and_retry), key("bug", &Options::bug)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_flushes[] = {"true", "false"};
  static constexpr DrawnOption drawn[] = {{"flush_and_retry", drawn_flushes}};

  /// `upstream` and `device` outlive this. Throws std::invalid_argument for an unknown bug.
  LegacyPool(Resource& upstream, Device& device, Options options);
  /// Gives idle blocks back. A block that is still lent stays lent by upstream, where it shows.
  ~LegacyPool() override;

  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// Waits for the device, then gives every idle block back. Throws DeviceError.
  std::size_t trim() override;
  std::size_t reserved_bytes() const override { return reserved_bytes_; }
  std::size_t attempts_max() const override { return flush_and_retry_ ? 2 : 1; }

  std::size_t idle_blocks() const;
  /// Flushes that out of memory caused.
  std::size_t flushes() const { return flushes_; }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  enum class Bug { none, no_flush, drop_live, second_retry, double_free };
  struct Borrowed {
    void* data = nullptr;
    Request request{};  ///< As upstream was asked, so request.bytes is llama.cpp's actual_size.
    std::uint64_t serial = 0;
  };
  static constexpr std::size_t kSlots = 256;  // MAX_BUFFERS

  static Bug bug_named(const std::string& word);
  Borrowed* best_fit(const Request& request);
  Borrowed borrow(const Request& request);
  std::size_t release_idle() noexcept;
  void release_oldest_lent() noexcept;
  void give_back(const Borrowed& block) noexcept;
  void keep_idle(const Borrowed& block) noexcept;

  Resource& upstream_;
  Device& device_;
  const bool flush_and_retry_;
  const Bug bug_;
  std::array<Borrowed, kSlots> idle_{};
  AddressTable<Borrowed> lent_;
  std::size_t reserved_bytes_ = 0;
  std::size_t flushes_ = 0;
  std::size_t refused_frees_ = 0;
  std::uint64_t serial_ = 0;
};

}  // namespace drought
