// The simulated device: a GPU of any capacity on any machine, which answers as an H200 was measured
// to answer. Memory is bookkeeping over reserved address space; work waits in streams and retires in
// a seeded order.
//
// Work::full gives live blocks real pages and runs kernels. Work::shapes touches no device memory and
// runs no kernel body, so that a 60 GiB buffer costs microseconds; every check stays.
//
// One thread uses a device at a time.
#pragma once

#include <map>
#include <string>

#include "harness/device/host_graphs.hpp"
#include "harness/device/host_heap.hpp"
#include "harness/device/host_managed.hpp"
#include "harness/device/host_pinned.hpp"
#include "harness/device/host_pool.hpp"
#include "harness/device/host_streams.hpp"
#include "harness/device/host_vmm.hpp"

namespace drought {

class HostDevice final : public Device {
 public:
  /// `profile` with the options' capacity in place. Throws std::invalid_argument when the capacity
  /// does not hold the profile's context.
  HostDevice(const Profile& profile, const DeviceOptions& options);

  Lane lane() const override { return Lane::host; }
  Status set_peer(std::string_view name, std::size_t bytes) override;
  std::size_t peer_bytes(std::string_view name) const override;
  std::size_t held_bytes() const override;
  std::string fault_report() const override { return fault_report_; }
  const void* fault_address() const override { return fault_address_; }
  std::optional<ManagedTraffic> managed_traffic() const override { return managed_.traffic(); }
  /// UINT64_MAX for an address that is neither the device's, nor pinned, nor registered.
  std::uint64_t offset_of(const void* pointer) const override;

 private:
  struct StoredLaunch;

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

  /// Whose memory an address is, and what a fill or copy may touch of it.
  enum class Place : std::uint8_t { pageable, pinned, device };
  struct Extent {
    Place place = Place::pageable;
    bool whole = false;  ///< All bytes lie in one allocation and may be accessed so.
  };
  Extent extent(const void* data, std::size_t bytes, Access access) const;
  /// Whether a kernel may access every byte, page by page as the chip sees it.
  bool reachable(const void* data, std::size_t bytes, Access access) const;

  /// Every call begins with one of these. A dead context answers its error for ever; a fault that no
  /// synchronising call has shown yet stays hidden from the others.
  Status arrive();
  Status arrive_and_drain();
  /// arrive() of a call that could wait, which a capture may forbid.
  Status arrive_unsafe();
  /// arrive() of a call that puts work into `stream`.
  Status arrive_with_work(Stream stream);
  Status shown();

  /// Runs `work` in the stream's order, or records it where the stream captures.
  void submit(Stream stream, HostStreams::Work work);
  /// Takes back for `bytes` what the device lends to nobody but itself: the pool's idle chunks, and the
  /// room of managed pages. Whether that is enough.
  bool reclaim(std::size_t bytes);
  void touch_managed(const void* data, std::size_t bytes);

  bool runs() const { return work() == Work::full; }
  bool can_launch(const Launch& launch) const;
  Status run(const StoredLaunch& stored);

  Budget budget_;
  AddressSpace heap_space_;
  AddressSpace vmm_space_;
  AddressSpace async_space_;
  AddressSpace managed_space_;
  HostHeap heap_;
  HostVmm vmm_;
  HostMemory host_memory_;
  HostStreams streams_;
  HostPool pool_;
  HostManaged managed_;
  GraphMemory graph_memory_;
  HostGraphs graphs_;
  HostCaptures captures_;
  std::map<std::string, std::size_t, std::less<>> peers_;  ///< What each process costs, context included.
  bool launched_ = false;
  Random thread_orders_;  ///< A kernel's threads run in an order of their own at each launch.
  Status dead_ = Status::success;
  std::string fault_report_;
  const void* fault_address_ = nullptr;
};

}  // namespace drought
