// PyTorch's CUDA caching allocator in its default configuration, decision for decision: which free
// block is taken, when one is split, when a segment is borrowed and of what size, and in which order
// cached segments go back when memory runs out.
//
// Requests are rounded to 512 B. Up to 1 MiB they live in 2 MiB segments of a small pool; above, in
// 20 MiB segments, or from 10 MiB on in a segment of their own size. The free blocks of a stream are
// searched best fit first. A miss borrows; a refusal gives every cached segment back and tries once
// more. A block that was used on other streams returns only when those uses have completed.
// Rules: c10/cuda/CUDACachingAllocator.cpp, checked against recorded traces.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "allocators/caching_blocks.hpp"
#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Caching final : public Resource,
                      public Trims,
                      public RecordsStreams,
                      public LogsDecisions,
                      public ListsFreeBlocks {
 public:
  struct Options {
    /// Which of equally large free blocks goes first: the one at the lowest address, or (newer
    /// releases of PyTorch) the one whose segment was borrowed first.
    std::string ties = "address";
    static constexpr auto keys() { return std::tuple{key("ties", &Options::ties)}; }
  };

  /// `upstream` and `device` outlive this; the device is asked for events only. Throws
  /// std::invalid_argument for unknown options.
  Caching(Resource& upstream, Device& device, Options options);
  /// Waits for pending uses and gives whole segments back. A segment in which a block is still lent
  /// stays borrowed, where upstream's accounts show it.
  ~Caching() override;

  /// Alignment above 512 B costs so much more room. PyTorch would also refuse to borrow while an error
  /// waits in the device's last-error slot; whoever made that call has reported it here.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// Waits for pending uses, then gives back every segment of which no part is lent. DeviceError.
  std::size_t trim() override;
  std::size_t reserved_bytes() const override { return reserved_bytes_; }

  void record_stream(void* block, Stream stream) override;
  void log_decisions_to(Listener* listener) override { listener_ = listener; }
  std::vector<FreeBlock> free_blocks() const override;

  /// Rounded bytes that are lent, those waiting for other streams included.
  std::size_t active_bytes() const { return active_bytes_; }
  /// How often a refusal led to a second try.
  std::size_t retries() const { return retries_; }
  std::size_t ooms() const { return ooms_; }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  struct Pending {
    Event event;
    CachedBlock* block;
  };

  CachedBlock* borrow(const Request& request, std::size_t bytes, CachedPool& pool);
  CachedBlock* borrow_or_make_room(const Request& request, std::size_t bytes, CachedPool& pool);
  void become_free(CachedBlock* block);
  void absorb(CachedBlock* block, CachedBlock* neighbour);
  std::size_t release_whole_segments();
  std::size_t release_from(const CachedPool& pool);
  void decide(Decision::Kind kind, std::uintptr_t address, std::size_t bytes, std::uint64_t stream);

  void fence(CachedBlock* block) noexcept;
  void poll_events();
  void wait_for_events();
  void use_completed(const Pending& pending);

  Resource& upstream_;
  Device& device_;
  const bool ties_by_age_;
  CachedBlockNodes nodes_;
  CachedPool small_{true}, large_{false};
  AddressTable<CachedBlock*> lent_;
  AddressTable<Request> segments_;  // What upstream was asked for, by where the segment begins.
  Listener* listener_ = nullptr;
  std::size_t reserved_bytes_ = 0, active_bytes_ = 0;
  std::size_t retries_ = 0, ooms_ = 0, refused_frees_ = 0;
  std::uint64_t segments_borrowed_ = 0;

  std::unordered_map<const CachedBlock*, std::vector<Stream>> uses_;  // On streams not the block's own.
  std::map<Stream, std::deque<Pending>> pending_;                     // One queue per using stream.
  std::vector<Event> idle_events_;
  std::vector<CachedBlock*> unfenced_;  // No event could be recorded: they wait for the whole device.
};

}  // namespace drought
