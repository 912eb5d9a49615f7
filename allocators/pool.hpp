// RMM's coalescing best-fit pool, decision for decision: which free block is taken and split, from which
// stream's list, how much the pool grows by, and what is given back first.
//
// Requests are rounded to 256 B and take the low end of the smallest free block of their stream that is
// large enough (of equal ones the lowest), else of another stream's, else of all lists merged. A miss
// grows: a pool with a maximum by half of what it may still borrow, one without by its own size, and by
// the request if that is more. Upstream's refusal halves the step down to the request. What it grows by is
// a block of its own, never joined to another: the remainders that no request fits are what rmm issues
// 1664 and 1957 ran out of memory with. Since PR 2470 a pool that has no room to grow first gives blocks
// back that are wholly free.
// Rules: rmm/mr/detail/pool_memory_resource_impl, coalescing_free_list.hpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "allocators/caching_blocks.hpp"
#include "allocators/stream_lists.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Pool final : public Resource, public Trims, public FallsBack, public ListsFreeBlocks {
 public:
  struct Options {
    std::size_t initial_bytes = 4_MiB;  ///< Borrowed at once; 0: nothing.
    std::size_t maximum_bytes = 0;      ///< 0: none.
    /// PR 2470: whole free upstream blocks go back before a pool with a maximum gives up.
    bool reclaims = true;
    /// half; whole: as in RMM 0.15, which put the initial block through the rule too, asked for all that
    /// was left when half did not do, and never asked for less (rmm issues 471 and 496).
    std::string growth = "half";
    /// none; stale_merge: merged lists keep the event of before (rmm issue 2489).
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("initial_bytes", &Options::initial_bytes),
                        key("maximum_bytes", &Options::maximum_bytes), key("reclaims", &Options::reclaims),
                        key("growth", &Options::growth), key("bug", &Options::bug)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_initial[] = {"0", "4194304", "67108864"};
  static constexpr std::string_view drawn_maximum[] = {"0", "67108864", "134217728"};
  static constexpr std::string_view drawn_reclaims[] = {"true", "false"};
  static constexpr DrawnOption drawn[] = {
      {"initial_bytes", drawn_initial}, {"maximum_bytes", drawn_maximum}, {"reclaims", drawn_reclaims}};

  /// `upstream` and `device` outlive this; the device is asked for events only. Throws
  /// std::invalid_argument for sizes that are no multiples of 256 or contradict each other.
  Pool(Resource& upstream, Device& device, Options options);
  /// Waits for the last uses and gives whole blocks back. One in which a block is still lent stays
  /// borrowed, where upstream's accounts show it.
  ~Pool() override;

  /// Alignment is 256 B; a request for more is std::invalid_argument (RMM does not look at it).
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// RMM gives back only at its end or when it cannot grow; here it may be asked to. Waits for the last
  /// uses. Throws DeviceError.
  std::size_t trim() override;
  /// RMM's pool_size().
  std::size_t reserved_bytes() const override { return reserved_bytes_; }
  std::vector<FreeBlock> free_blocks() const override;
  std::string_view take_fallback() noexcept override { return lists_.take_fallback(); }

  std::size_t idle_bytes() const { return reserved_bytes_ - lent_bytes_; }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  CachedBlock* expand(const Request& request, std::size_t bytes);
  CachedBlock* try_to_expand(const Request& request, std::size_t try_bytes, std::size_t least_bytes);
  CachedBlock* borrow(const Request& request, std::size_t bytes);
  std::size_t size_to_grow(std::size_t bytes) const;
  void reclaim(std::size_t bytes, FreeBlocks& from);
  void give_back(CachedBlock* block) noexcept;
  void insert(CachedBlock* block, FreeBlocks& home);
  void merge(FreeBlocks& into, FreeBlocks& from);
  std::string shortage() const;

  Resource& upstream_;
  const Options options_;
  const bool grows_whole_;
  CachedBlockNodes nodes_;
  StreamLists<FreeBlocks> lists_;
  AddressTable<CachedBlock*> lent_;
  std::map<std::uintptr_t, Request> borrowed_;
  std::size_t reserved_bytes_ = 0, lent_bytes_ = 0, refused_frees_ = 0;
};

}  // namespace drought
