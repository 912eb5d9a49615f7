// llama.cpp's VMM pool (ggml_cuda_pool_vmm, ggml-cuda.cu), which backs kernel scratch where the driver
// has virtual memory: one reservation of addresses, 32 GiB, of which physical memory is mapped from the
// bottom as far as it was ever needed. A stack: blocks are cut from the top at 128 bytes, and what is
// mapped never shrinks. Growth asks in llama.cpp's order: cuMemCreate, the reservation if there is none
// yet, cuMemMap, cuMemRelease, cuMemSetAccess. Like the original it serves one stream's order.
//
// llama.cpp aborts at every refusal and at every free that is not of the topmost block. Here each refused
// step gives back what the steps before it took, and a block freed below the top waits: its memory can
// serve again when everything above it is free too.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class VmmPool final : public Resource, public ListsFreeBlocks {
 public:
  struct Options {
    std::size_t reservation_bytes = 32_GiB;  ///< CUDA_POOL_VMM_MAX_SIZE, llama.cpp PR 4687.
    /// none; no_unwind: a refused step keeps what the steps before it took, as the original would if it
    /// lived on; pops_any: a free takes the topmost bytes whichever block it names, as the original would
    /// without its assertion.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("reservation_bytes", &Options::reservation_bytes), key("bug", &Options::bug)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn[] = {{"reservation_bytes", 1, 1_GiB}};

  /// `device` outlives this. Throws std::invalid_argument for an unknown bug or a reservation of nothing.
  VmmPool(Device& device, Options options);
  /// Unmaps everything, unless a block is still lent: then all stays mapped, and held_bytes() shows it.
  ~VmmPool() override;

  /// Throws std::invalid_argument for an alignment above the granularity, at which the reservation begins.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// What is mapped above the topmost block: one block, or none. A block that waits below is not in it.
  std::vector<FreeBlock> free_blocks() const override;

  std::size_t mapped_bytes() const { return mapped_bytes_; }
  /// From the bottom to the top of the topmost block that was not taken back, padding included.
  std::size_t used_bytes() const { return used_bytes_; }
  std::size_t lent_blocks() const { return lent_.size(); }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }
  /// Calls that give something back and reported an error, which they do after the deed.
  std::size_t refused_releases() const { return refused_releases_; }

 private:
  enum class Bug { none, no_unwind, pops_any };
  struct Entry {
    std::size_t below_bytes = 0;  ///< used_bytes_ before this block.
    bool is_lent = true;
  };

  static Bug bug_named(const std::string& word);
  void grow(const Request& request, std::size_t short_bytes);
  void map_at_top(const Request& request, MemoryHandle handle, std::size_t bytes);
  [[noreturn]] void refuse(const Request& request, Status status, const char* call, std::size_t bytes);
  void given_back(Status status) { refused_releases_ += status != Status::success; }
  void take_back_top() noexcept;

  Device& device_;
  const std::size_t granularity_bytes_;
  const std::size_t reservation_bytes_;
  const Bug bug_;
  std::uintptr_t base_ = 0;  ///< 0: nothing is reserved yet.
  std::size_t mapped_bytes_ = 0, used_bytes_ = 0;
  std::vector<Entry> stack_;
  AddressTable<std::size_t> lent_;  ///< From a block to its place in the stack.
  std::size_t refused_frees_ = 0, refused_releases_ = 0;
};

}  // namespace drought
