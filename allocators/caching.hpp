// PyTorch's CUDA caching allocator, decision for decision: which free block is taken, when one is split,
// when a segment is borrowed and of what size, and in which order cached memory goes back.
//
// Requests are rounded to 512 B or as configured. Up to 1 MiB they live in 2 MiB segments of a small
// pool; above, in 20 MiB segments, or from 10 MiB on in a segment of their own size. The free blocks of a
// stream are searched best fit first. A miss first collects what is old, if so configured, and then
// borrows; a refusal gives cached memory back and tries again. With expandable segments memory is
// mapped page by page instead. A block that was used on other streams returns only when those uses
// have completed. Rules: c10/cuda/CUDACachingAllocator.cpp, checked against recorded traces.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "allocators/caching_expandable.hpp"
#include "allocators/caching_mutant.hpp"
#include "allocators/caching_pool.hpp"
#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Caching final : public Resource,
                      public Trims,
                      public RecordsStreams,
                      public Pools,
                      public Resumes,
                      public FallsBack,
                      public LogsDecisions,
                      public ListsFreeBlocks {
 public:
  struct Options {
    /// As PYTORCH_CUDA_ALLOC_CONF: "max_split_size_mb:32,expandable_segments:True".
    std::string conf;
    /// What may be reserved in all; 0: what per_process_memory_fraction leaves of the device.
    std::size_t cap_bytes = 0;
    /// Which of equally large free blocks goes first: the one at the lowest address, or (newer
    /// releases of PyTorch) the one whose segment was borrowed first.
    std::string ties = "address";
    /// Where ">" of a list of roundup_power2_divisions begins: after the last size that it names, or
    /// (older releases) at that size.
    std::string divisions_rest = "after_last";
    /// Refuses to borrow, with a DeviceError, while an earlier call's error waits in the device's last-error
    /// slot, and clears it, as PyTorch does. Off, because whoever made that call has reported it here.
    bool heeds_last_error = false;
    /// A historic or plausible mistake, by name; none.
    std::string mutant;
    static constexpr auto keys() {
      return std::tuple{key("conf", &Options::conf),
                        key("cap_bytes", &Options::cap_bytes),
                        key("ties", &Options::ties),
                        key("divisions_rest", &Options::divisions_rest),
                        key("heeds_last_error", &Options::heeds_last_error),
                        key("mutant", &Options::mutant)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr std::string_view drawn_confs[] = {
      "''",
      "'max_split_size_mb:20'",
      "'roundup_power2_divisions:4'",
      "'garbage_collection_threshold:0.5'",
      "'expandable_segments:True'",
      "'expandable_segments:True,garbage_collection_threshold:0.8'"};
  static constexpr std::string_view drawn_ties[] = {"'address'", "'age'"};
  static constexpr DrawnOption drawn[] = {
      {"conf", drawn_confs}, {"ties", drawn_ties}, {"cap_bytes", 0, 256_MiB}};

  /// `upstream` and `device` outlive this; the device is asked for events, and for pages where segments
  /// are expandable. Throws std::invalid_argument for unknown options.
  Caching(Resource& upstream, Device& device, Options options);
  /// Waits for pending uses and gives whole segments back. A segment in which a block is still lent
  /// stays borrowed, where upstream's accounts or the device's show it.
  ~Caching() override;

  /// Alignment above 512 B costs so much more room.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// Waits for pending uses, then gives back every segment of which no part is lent. DeviceError.
  std::size_t trim() override;
  std::size_t reserved_bytes() const override { return reserved_bytes_; }

  void record_stream(void* block, Stream stream) override;
  std::string_view take_fallback() noexcept override {
    return std::exchange(fell_back_, false) ? "what has no event or stream waits for the device" : "";
  }
  void create_pool(PoolId id, Kind kind) override;
  void release_pool(PoolId id) override;
  void begin_allocate_to_pool(PoolId id, Includes includes, Scope scope) override;
  void end_allocate_to_pool(PoolId id) override;

  void configure(std::string_view conf, std::size_t cap_bytes) override;
  double collects_above() const override { return conf_.garbage_collection_threshold; }
  std::size_t segment_bytes(std::size_t bytes) const override;
  void resume(std::span<const Segment> segments) override;

  void log_decisions_to(Listener* listener) override { listener_ = listener; }
  std::vector<FreeBlock> free_blocks() const override;

  /// Rounded bytes that are lent, those waiting for other streams included.
  std::size_t active_bytes() const { return active_bytes_; }
  /// How often a refusal led to a try after everything cached had gone back.
  std::size_t retries() const { return retries_; }
  std::size_t ooms() const { return ooms_; }
  /// Requests that throw_on_cudamalloc_oom turned away.
  std::size_t rejections() const { return rejections_; }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  struct Pending {
    Event event;
    CachedBlock* block;
  };
  struct Use {
    Stream stream;
    bool in_capture;  ///< It has completed when the capture has.
  };
  struct OpenScope {
    PrivatePool* pool;
    Includes includes;
    Scope scope;
  };
  struct Wanted {
    const Request& request;
    std::size_t bytes;  ///< Rounded.
    CachedPool& pool;
  };

  CachedPool& pool_for(std::size_t bytes, Stream stream);
  CachedBlock* take_free(CachedPool& pool, std::uint64_t stream, std::size_t bytes);
  CachedBlock* borrow(const Wanted& wanted);
  CachedBlock* borrow_segment(const Wanted& wanted);
  CachedBlock* borrow_or_make_room(const Wanted& wanted);
  [[noreturn]] void run_out(const Wanted& wanted);
  void put(CachedBlock* block);
  void become_free(CachedBlock* block);
  void absorb(CachedBlock* block, CachedBlock* neighbour);
  void absorb_neighbours(CachedBlock* block);
  CachedBlock* cut_front(CachedBlock* block, std::size_t bytes);
  void decide(Decision::Kind kind, std::uintptr_t address, std::size_t bytes, std::uint64_t stream);

  // Memory that goes back.
  void collect_garbage();
  bool release_available(const Wanted& wanted);
  std::size_t release_cached();
  std::size_t release_from(CachedPool& pool);
  void release(CachedBlock* block);

  // Expandable segments.
  CachedBlock* grow(const Wanted& wanted);
  CachedBlock* growable(const Wanted& wanted);
  CachedBlock* map(CachedBlock* block, std::size_t bytes);
  std::size_t unmap(CachedBlock* block);

  // Private pools.
  PrivatePool& pool_named(PoolId id);
  CachedBlock* borrow_from_pools(const Wanted& wanted);
  std::size_t release_idle_pools();

  // Uses on other streams.
  void fence(CachedBlock* block);
  void fence_deferred();
  void poll_events();
  void wait_for_events();
  void use_completed(const Pending& pending);

  Resource& upstream_;
  Device& device_;
  const bool ties_by_age_;
  const DivisionsRest divisions_rest_;
  const bool heeds_last_error_;
  const CachingMutant mutant_;
  CachingConf conf_;
  std::size_t cap_bytes_ = CachingConf::kUnlimited;
  std::size_t split_below_bytes_ = CachingConf::kUnlimited;
  bool takes_first_fit_ = true;  ///< The first block that is large enough is always the right one.
  bool collects_ = false;
  CachedBlockNodes nodes_;
  CachedPool small_, large_;
  AddressTable<CachedBlock*> lent_;
  AddressTable<Request> segments_;  // What upstream was asked for, by where the segment begins.
  Listener* listener_ = nullptr;
  std::size_t reserved_bytes_ = 0, active_bytes_ = 0;
  std::size_t retries_ = 0, ooms_ = 0, rejections_ = 0, refused_frees_ = 0;
  std::uint64_t segments_borrowed_ = 0;

  std::unordered_map<const ExpandableSegment*, std::unique_ptr<ExpandableSegment>> expandable_;

  std::map<PoolId, std::unique_ptr<PrivatePool>> pools_;
  std::vector<PrivatePool*> idle_pools_;  // Held by nobody, in the order in which they were let go.
  std::vector<OpenScope> scopes_;         // The newest last.
  std::size_t captures_ = 0;

  std::unordered_map<const CachedBlock*, std::vector<Use>> uses_;  // On streams not the block's own.
  std::map<Stream, std::deque<Pending>> pending_;                  // One queue per using stream.
  std::vector<CachedBlock*> deferred_;                             // Freed in a capture, to be fenced after.
  std::vector<Event> idle_events_;
  bool fell_back_ = false;              // Since it was last asked.
  std::vector<CachedBlock*> unfenced_;  // No event could be recorded: they wait for the whole device.
};

}  // namespace drought
