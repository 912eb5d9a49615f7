// LightLLM's KV cache by the token: one slab of slots + 1 rows, of which the last is the hold row that
// padded requests write to and nobody is ever given.
//
// Free slots are a stack: slots(n) takes the n that were freed last, in the order in which they were given
// to free(), from a fresh cache the n lowest. allocate() takes the top of the stack for one slot and, for
// more, the lowest run of neighbours, as the older MemoryManager.alloc_contiguous did; without such a run it
// fails, however many slots are free. A counter that another process reads mirrors can_use after each call.
//
// LightLLM's free() checks nothing but that the stack does not underflow: a slot freed twice is handed to
// two requests. Here a list with a slot that is not lent, named twice or out of range is refused whole.
// Slots know nothing of streams: whoever frees one has no work queued on it, or hands it on in one stream.
// Rules: lightllm/common/kv_cache_mem_manager/allocator.py (main), mem_manager.py (2024).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "allocators/run_tree.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/buffer.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class KvSlots final : public Resource {
 public:
  using Slot = std::uint32_t;
  struct Options {
    std::size_t slots = 4096;
    std::size_t slot_bytes = 57344;  ///< A token of Qwen2.5-7B in bf16: 2 * 4 heads * 128 * 28 layers * 2 B.
    /// none; unchecked_free: free() believes its list, as LightLLM does; hold_issued: the hold row is
    /// among the free slots.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("slots", &Options::slots), key("slot_bytes", &Options::slot_bytes),
                        key("bug", &Options::bug)};
    }
  };

  /// Borrows the slab at once. `upstream` outlives this. Throws std::invalid_argument for a cache of
  /// nothing or of 2^31 slots.
  KvSlots(Resource& upstream, Options options);

  /// One slot, or a run of them, at the address of the first; what the last slot has to spare is lent too.
  /// Alignment is what every slot has: the power of two in slot_bytes, 256 B at most; more is
  /// std::invalid_argument.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// `count` slots that need not be neighbours. Throws OutOfMemory and takes none when fewer are free.
  std::vector<Slot> slots(std::size_t count);
  /// Gives back what slots() gave. Throws std::invalid_argument, and changes nothing, for a list that
  /// names a slot which is not lent, or one twice.
  void free(std::span<const Slot> list);
  /// All slots are free, in rising order, whoever holds them: LightLLM's reset after a warm-up.
  void free_all();

  std::byte* address_of(Slot slot) const { return slab_.data() + slot * slot_bytes_; }
  std::size_t slot_bytes() const { return slot_bytes_; }
  std::size_t size() const { return slots_; }
  Slot hold_slot() const { return static_cast<Slot>(slots_); }
  std::size_t can_use() const { return can_use_; }
  std::size_t longest_run() const { return runs_.longest(); }
  /// `counter` holds can_use() from now on; null: nothing does. It outlives its use here.
  void mirror_to(std::size_t* counter);
  /// Runs that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

  /// What is wrong with the books, a sentence; empty when every slot is free or lent and none both, the
  /// counts and the mirror agree, and the hold row is neither. O(slots).
  std::string broken_invariant() const;

 private:
  enum class Use : std::uint8_t { free, listed, run };
  struct Run {
    Slot first = 0;
    std::size_t count = 0;
  };

  Slot end_of_stack() const { return static_cast<Slot>(use_.size()); }
  void push(Slot slot);
  void remove(Slot slot);
  void take(Slot first, std::size_t count, Use use);
  void changed(std::ptrdiff_t freed);

  const std::size_t slots_, slot_bytes_;
  const bool checks_frees_, issues_hold_;
  const Buffer slab_;
  std::vector<Use> use_;
  std::vector<Slot> next_, before_;  ///< The stack; place size() is both of its ends.
  RunTree runs_;
  AddressTable<Run> lent_;
  std::size_t can_use_ = 0, refused_frees_ = 0;
  std::size_t* mirror_ = nullptr;
};

}  // namespace drought
