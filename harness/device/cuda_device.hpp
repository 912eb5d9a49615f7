// The cuda lane: GPU 0 through the CUDA runtime and the driver's VMM calls. The driver gives the
// answers; this class only keeps what it must know to cap the memory and to leave the GPU as it found it.
//
// A capacity below the GPU's own is a cap. Under it the device counts what a simulated one counts
// (the profile's context and first launch, own allocations, peers with their contexts), refuses what
// would pass it before the driver is asked, and reports the lesser of the two free figures. Without a
// cap every figure is the GPU's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "harness/device/child.hpp"
#include "harness/device/cuda_driver.hpp"
#include "harness/device/device.hpp"
#include "harness/device/footprint.hpp"

namespace drought {

/// One at a time in a process as a rule: all share the process's primary context, and a sticky error
/// in it is the end for all. Not thread-safe. Destroying it gives back all that was taken through it.
class CudaDevice final : public Device {
 public:
  /// The primary context of GPU 0 is current; the GPU has `gpu_bytes` in all. profile() has the lesser of
  /// that and the capacity in place. Throws std::invalid_argument when it does not hold the context.
  CudaDevice(const Profile& profile, const DeviceOptions& options, const CudaDriver& driver,
             std::size_t gpu_bytes);
  ~CudaDevice() override;

  Lane lane() const override { return Lane::cuda; }
  /// Throws std::system_error when the process cannot be started; devices_unavailable when it does not
  /// answer. Needs the job "peer" in this executable (cuda_peer.hpp). About 0.3 s for a new peer.
  Status set_peer(std::string_view name, std::size_t bytes) override;
  std::size_t peer_bytes(std::string_view name) const override {
    const auto found = peers_.find(name);
    return found == peers_.end() ? 0 : found->second.bytes;
  }
  /// 2^46 at the first block that cudaMalloc gave; (n + 1) * 2^46 where the nth reservation begins;
  /// 2^60 and on for pinned and registered memory; UINT64_MAX for what this device never lent. Stable
  /// between runs as far as the driver lays out its address space alike.
  std::uint64_t offset_of(const void* pointer) const override;
  std::size_t held_bytes() const override { return footprint_.bytes() + created_bytes_ + pooled_bytes(); }

 private:
  /// cuMemCreate's memory, which lives until it is released and nothing maps it.
  struct Physical {
    Physical(std::size_t& counter, std::size_t size) : all_bytes(counter), bytes(size) { all_bytes += bytes; }
    ~Physical() { all_bytes -= bytes; }
    Physical(const Physical&) = delete;
    Physical& operator=(const Physical&) = delete;
    std::size_t& all_bytes;
    const std::size_t bytes;
  };
  struct Mapping {
    std::size_t bytes;
    std::shared_ptr<Physical> physical;
  };
  struct Reservation {
    std::size_t bytes;
    std::uint64_t number;
  };
  struct Peer {
    Child child;
    std::size_t charge_bytes, bytes;
  };
  struct HostRange {
    std::size_t bytes;
    std::uint64_t offset;
  };
  struct Lent {
    std::size_t bytes = 0;
  };
  using HostRanges = std::map<std::uintptr_t, HostRange>;

  Status do_malloc(void*& out, std::size_t bytes) override;
  Status do_free(void* block) override;
  Status do_mem_info(MemInfo& out) override;
  Status do_pointer_kind(const void* pointer, PointerKind& out) override;
  Status do_malloc_host(void*& out, std::size_t bytes) override;
  Status do_free_host(void* block) override;
  Status do_host_register(const void* begin, std::size_t bytes, HostRegistration how) override;
  Status do_host_unregister(const void* begin) override;
  Status do_mem_create(MemoryHandle& out, std::size_t bytes) override;
  Status do_mem_release(MemoryHandle handle) override;
  Status do_address_reserve(void*& out, std::size_t bytes) override;
  Status do_address_free(void* begin, std::size_t bytes) override;
  Status do_mem_map(void* begin, std::size_t bytes, std::size_t offset, MemoryHandle handle) override;
  Status do_mem_unmap(void* begin, std::size_t bytes) override;
  Status do_mem_set_access(void* begin, std::size_t bytes, Protection protection) override;
  Status do_stream_create(Stream& out) override;
  Status do_stream_destroy(Stream stream) override;
  Status do_stream_synchronize(Stream stream) override;
  Status do_stream_wait_event(Stream stream, Event event) override;
  Status do_event_create(Event& out) override;
  Status do_event_destroy(Event event) override;
  Status do_event_record(Event event, Stream stream) override;
  Status do_event_query(Event event) override;
  Status do_event_synchronize(Event event) override;
  Status do_synchronize() override;
  Status do_memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream) override;
  Status do_memcpy(void* to, const void* from, std::size_t bytes, Stream stream) override;
  Status do_launch(const Launch& launch) override;
  Status do_malloc_async(void*& out, std::size_t bytes, Stream stream) override;
  Status do_free_async(void* block, Stream stream) override;
  Status do_pool_trim(std::size_t keep_bytes) override;
  Status do_pool_set_release_threshold(std::size_t bytes) override;
  Status do_pool_attributes(PoolAttributes& out) override;
  Status do_malloc_managed(void*& out, std::size_t bytes) override;
  Status do_mem_prefetch(void* begin, std::size_t bytes, Residence to, Stream stream) override;
  Status do_stream_begin_capture(Stream stream, CaptureMode mode) override;
  Status do_stream_end_capture(Stream stream, Graph& out) override;
  Status do_stream_capture_status(Stream stream, CaptureStatus& out) override;
  Status do_graph_instantiate(GraphInstance& out, Graph graph) override;
  Status do_graph_launch(GraphInstance instance, Stream stream) override;
  Status do_graph_destroy(Graph graph) override;
  Status do_graph_instance_destroy(GraphInstance instance) override;
  Status do_graph_memory_trim() override;

  bool capped() const { return profile().total_bytes < gpu_bytes_; }
  /// Bytes left under the cap, 0 when it is passed.
  std::size_t room_bytes() const;
  /// Whether `bytes` of memory of their own stay under the cap.
  bool fits(std::size_t bytes) const;
  /// Whether the range lies in live memory, as the driver asks of a fill.
  bool is_live(const void* begin, std::size_t bytes) const;
  /// Whether this device lent it as device memory, freed since or not.
  bool was_lent(const void* pointer) const;
  /// Whether a copy must treat it as device memory.
  Status is_on_device(const void* pointer, bool& out) const;
  void remember(const void* begin, std::size_t bytes);
  void add(HostRanges& ranges, const void* begin, std::size_t bytes);

  /// A stream's or event's handle; nullptr_t for the legacy stream. false: not alive.
  bool find(Stream stream, cudaStream_t& out) const;
  bool find(Event event, cudaEvent_t& out) const;
  void give_back_address_space();
  void give_back_graphs();
  void give_back_pool();

  /// The device's default pool, whose attributes outlive this object: it is left as it was found.
  Status find_pool(cudaMemPool_t& out);
  /// What the pool and the graphs' memory have taken from the device.
  std::size_t pooled_bytes() const;
  /// Whether a block's bytes and all managed memory would not fit what is free, which is then said aloud.
  bool would_oversubscribe(std::size_t bytes) const;

  const CudaDriver driver_;
  const std::size_t gpu_bytes_;
  const bool repeatable_;

  Footprint footprint_;
  std::size_t created_bytes_ = 0;  ///< Of all Physical alive.
  std::size_t first_launch_bytes_ = 0;
  std::map<std::string, Peer, std::less<>> peers_;

  std::map<std::uint64_t, std::shared_ptr<Physical>> handles_;  ///< By the driver's handle.
  std::map<std::uintptr_t, Mapping> mappings_;
  std::map<std::uintptr_t, Reservation> reservations_;
  std::uint64_t reservations_made_ = 0;
  std::map<std::uintptr_t, Lent> lent_;  ///< Device ranges that were handed out, freed ones too.
  std::uintptr_t origin_ = 0;

  HostRanges pinned_;
  HostRanges registered_;
  std::uint64_t host_offset_ = std::uint64_t{1} << 60;  ///< Of the next of either.
  std::unordered_map<std::uint64_t, cudaStream_t> streams_;
  std::unordered_map<std::uint64_t, cudaEvent_t> events_;
  std::uint64_t waits_ = 0;                                   ///< Calls that waited for the GPU's work.
  std::unordered_map<std::uint64_t, std::uint64_t> unasked_;  ///< By event: the waits before its record.
  std::unordered_map<std::uint64_t, cudaGraph_t> graphs_;
  std::unordered_map<std::uint64_t, cudaGraphExec_t> graph_instances_;
  std::set<std::uint64_t> capturing_;
  bool has_captured_ = false;
  mutable std::size_t pooled_bytes_ = 0;  // As last asked.
  std::uint64_t ids_given_ = 0;

  cudaMemPool_t pool_ = nullptr;                        ///< Null until it is used.
  std::map<std::uintptr_t, std::size_t> async_blocks_;  ///< Live blocks of the pool and of memory nodes.
  std::map<std::uintptr_t, std::size_t> managed_;       ///< Live managed blocks and their footprint.
  std::size_t managed_bytes_ = 0;
};

}  // namespace drought
