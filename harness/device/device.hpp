// What a CUDA driver lends: memory, address space, streams, launches. One interface, two lanes.
// Every public call passes the gate, so each is a step of the scheduler and a point where a fault
// may strike; the lanes implement the do_ functions and know nothing of faults.
//
// Answers and side effects are those of facts that were measured on an H200 (driver 580.159); the
// semantics table in tests/ runs the same rows on both lanes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "harness/device/call.hpp"
#include "harness/device/launch.hpp"
#include "harness/device/profile.hpp"
#include "harness/device/recording.hpp"
#include "harness/device/status.hpp"

namespace drought {

enum class Lane : std::uint8_t { host, cuda };

struct MemoryHandle {
  std::uint64_t id = 0;
};  ///< cuMemCreate's physical memory; 0 is none.
struct MemInfo {
  std::size_t free_bytes = 0, total_bytes = 0;
};
enum class Protection : std::uint8_t { none, read, read_write };
enum class PointerKind : std::uint8_t { unregistered, host, device };
/// Whether the ledger judges what a fill or copy touches: an allocator's own slack is nobody's buffer.
enum class Judged : bool { no, yes };
/// Of the default stream-ordered pool.
struct PoolAttributes {
  std::size_t release_threshold_bytes = 0;  ///< Kept by a synchronisation, though idle.
  std::size_t reserved_bytes = 0, reserved_high_bytes = 0;
  std::size_t used_bytes = 0, used_high_bytes = 0;
};
enum class Residence : std::uint8_t { host, device };
/// Bytes of managed memory that crossed the link since the device was made: what oversubscription costs.
struct ManagedTraffic {
  std::size_t faulted_bytes = 0;     ///< To the device, because device work touched them.
  std::size_t prefetched_bytes = 0;  ///< Either way, because they were asked for.
  std::size_t evicted_bytes = 0;     ///< To the host, to make room.
  std::size_t remote_bytes = 0;      ///< Touched where they lay: the device had no room for a page.
};
struct HostRegistration {
  bool mapped = true;
  bool read_only = false;
};

class Device {
 public:
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  virtual Lane lane() const = 0;
  const Profile& profile() const { return profile_; }

  /// `gate` outlives its use here; nullptr takes it away.
  void set_gate(CallGate* gate) { gate_ = gate; }
  CallGate* gate() const { return gate_; }

  // --- cudaMalloc ---------------------------------------------------------------------------------
  /// bytes == 0 succeeds and, like a refusal, sets `out` to null.
  Status malloc(void*& out, std::size_t bytes, Tag tag = {});
  /// null succeeds. Anything but the start of a live block: invalid_value. Waits for running work.
  Status free(void* block, Tag tag = {});
  Status mem_info(MemInfo& out);
  Status pointer_kind(const void* pointer, PointerKind& out);

  // --- pinned and registered host memory ----------------------------------------------------------
  Status malloc_host(void*& out, std::size_t bytes, Tag tag = {});
  Status free_host(void* block);
  Status host_register(const void* begin, std::size_t bytes, HostRegistration how);
  Status host_unregister(const void* begin);

  // --- virtual memory management ------------------------------------------------------------------
  Status mem_create(MemoryHandle& out, std::size_t bytes, Tag tag = {});
  Status mem_release(MemoryHandle handle);
  Status address_reserve(void*& out, std::size_t bytes);
  Status address_free(void* begin, std::size_t bytes);
  Status mem_map(void* begin, std::size_t bytes, std::size_t offset, MemoryHandle handle);
  Status mem_unmap(void* begin, std::size_t bytes);
  Status mem_set_access(void* begin, std::size_t bytes, Protection protection);

  // --- stream-ordered memory: the device's default pool ---------------------------------------------
  /// May reuse a block that was freed on another stream, which `stream` then waits for. Like malloc, sets
  /// `out` to null for no bytes and when refused.
  Status malloc_async(void*& out, std::size_t bytes, Stream stream, Tag tag = {});
  /// invalid_value unless a live block of cudaMallocAsync or cudaMalloc begins there.
  Status free_async(void* block, Stream stream, Tag tag = {});
  /// Gives idle memory back to the device until `keep_bytes` are reserved.
  Status pool_trim(std::size_t keep_bytes);
  Status pool_set_release_threshold(std::size_t bytes);
  Status pool_attributes(PoolAttributes& out);

  // --- managed memory -------------------------------------------------------------------------------
  /// Freed by free(). The host lane pages it in and out; the cuda lane refuses what would not fit the
  /// device together with all else.
  Status malloc_managed(void*& out, std::size_t bytes, Tag tag = {});
  /// Asynchronous on `stream`.
  Status mem_prefetch(void* begin, std::size_t bytes, Residence to, Stream stream = {});

  // --- capture and graphs ---------------------------------------------------------------------------
  Status stream_begin_capture(Stream stream, CaptureMode mode);
  /// The graph belongs to the caller. A capture that a forbidden call broke: stream_capture_invalidated.
  Status stream_end_capture(Stream stream, Graph& out);
  Status stream_capture_status(Stream stream, CaptureStatus& out);
  Status graph_instantiate(GraphInstance& out, Graph graph);
  /// Declares the operands of every declared call that was captured, less what the graph's own memory
  /// nodes lend.
  Status graph_launch(GraphInstance instance, Stream stream);
  Status graph_destroy(Graph graph);
  Status graph_instance_destroy(GraphInstance instance);
  /// Gives back memory of memory nodes that no live block lies in.
  Status graph_memory_trim();

  // --- streams and events -------------------------------------------------------------------------
  Status stream_create(Stream& out);
  Status stream_destroy(Stream stream);
  Status stream_synchronize(Stream stream);
  Status stream_wait_event(Stream stream, Event event);
  Status event_create(Event& out);
  Status event_destroy(Event event);
  Status event_record(Event event, Stream stream);
  /// not_ready while work before the record is pending.
  Status event_query(Event event);
  Status event_synchronize(Event event);
  Status synchronize();

  // --- work ---------------------------------------------------------------------------------------
  /// Asynchronous on `stream`. A range that leaves its allocation: invalid_value, nothing is done.
  Status memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream = {},
                Judged judged = Judged::yes);
  /// Any direction, by the kinds of the two pointers. Host to device from pageable memory has been
  /// read when the call returns; a copy to pageable host memory has finished.
  Status memcpy(void* to, const void* from, std::size_t bytes, Stream stream = {},
                Judged judged = Judged::yes);
  /// Geometry the chip cannot run: invalid_value, context healthy. A kernel's illegal address shows
  /// at the next synchronising call and is sticky.
  Status launch(const Launch& launch);

  // --- the last-error slot, and what is not a CUDA call ---------------------------------------------
  /// cudaGetLastError: the slot, which is cleared unless the error is sticky.
  Status take_last_error();
  Status peek_last_error() const { return last_error_; }

  /// Makes another process hold `bytes` of this device under `name` (0: it ends). The first bytes also
  /// cost its context. memory_allocation, and nothing changes, when they do not fit.
  virtual Status set_peer(std::string_view name, std::size_t bytes) = 0;
  /// What the process called `name` was last made to hold; 0 when there is none.
  virtual std::size_t peer_bytes(std::string_view /*name*/) const { return 0; }

  /// Bytes that this process's live blocks and handles take, as the device accounts them. Not a CUDA
  /// call; 0 once all was given back.
  virtual std::size_t held_bytes() const = 0;

  /// What is known of the fault that ended the context (kernel, operand, offset, block and thread); empty
  /// when nothing is. Not a CUDA call.
  virtual std::string fault_report() const { return {}; }
  /// The address that ended the context; null when that is not known: a GPU does not say. Not a CUDA call.
  virtual const void* fault_address() const { return nullptr; }

  /// Nothing where it cannot be known. Not a CUDA call.
  virtual std::optional<ManagedTraffic> managed_traffic() const { return {}; }

  /// Whether kernels run. In shapes mode every operand is still checked and no payload is touched.
  enum class Work : std::uint8_t { full, shapes };
  Work work() const { return work_; }

  /// A pointer as an offset from this device's base, so that two runs print the same report.
  virtual std::uint64_t offset_of(const void* pointer) const = 0;

 protected:
  Device(const Profile& profile, Work work) : profile_(profile), work_(work) {}

  virtual Status do_malloc(void*& out, std::size_t bytes) = 0;
  virtual Status do_free(void* block) = 0;
  virtual Status do_mem_info(MemInfo& out) = 0;
  virtual Status do_pointer_kind(const void* pointer, PointerKind& out) = 0;
  virtual Status do_malloc_host(void*& out, std::size_t bytes) = 0;
  virtual Status do_free_host(void* block) = 0;
  virtual Status do_host_register(const void* begin, std::size_t bytes, HostRegistration how) = 0;
  virtual Status do_host_unregister(const void* begin) = 0;
  virtual Status do_mem_create(MemoryHandle& out, std::size_t bytes) = 0;
  virtual Status do_mem_release(MemoryHandle handle) = 0;
  virtual Status do_address_reserve(void*& out, std::size_t bytes) = 0;
  virtual Status do_address_free(void* begin, std::size_t bytes) = 0;
  virtual Status do_mem_map(void* begin, std::size_t bytes, std::size_t offset, MemoryHandle handle) = 0;
  virtual Status do_mem_unmap(void* begin, std::size_t bytes) = 0;
  virtual Status do_mem_set_access(void* begin, std::size_t bytes, Protection protection) = 0;
  virtual Status do_stream_create(Stream& out) = 0;
  virtual Status do_stream_destroy(Stream stream) = 0;
  virtual Status do_stream_synchronize(Stream stream) = 0;
  virtual Status do_stream_wait_event(Stream stream, Event event) = 0;
  virtual Status do_event_create(Event& out) = 0;
  virtual Status do_event_destroy(Event event) = 0;
  virtual Status do_event_record(Event event, Stream stream) = 0;
  virtual Status do_event_query(Event event) = 0;
  virtual Status do_event_synchronize(Event event) = 0;
  virtual Status do_synchronize() = 0;
  virtual Status do_memset(void* to, std::uint8_t value, std::size_t bytes, Stream stream) = 0;
  virtual Status do_memcpy(void* to, const void* from, std::size_t bytes, Stream stream) = 0;
  virtual Status do_launch(const Launch& launch) = 0;

  // A device without the feature answers so.
  virtual Status do_malloc_async(void*&, std::size_t, Stream) { return Status::not_supported; }
  virtual Status do_free_async(void*, Stream) { return Status::not_supported; }
  virtual Status do_pool_trim(std::size_t) { return Status::not_supported; }
  virtual Status do_pool_set_release_threshold(std::size_t) { return Status::not_supported; }
  virtual Status do_pool_attributes(PoolAttributes&) { return Status::not_supported; }
  virtual Status do_malloc_managed(void*&, std::size_t) { return Status::not_supported; }
  virtual Status do_mem_prefetch(void*, std::size_t, Residence, Stream) { return Status::not_supported; }
  virtual Status do_stream_begin_capture(Stream, CaptureMode) { return Status::not_supported; }
  virtual Status do_stream_end_capture(Stream, Graph&) { return Status::not_supported; }
  virtual Status do_stream_capture_status(Stream, CaptureStatus&) { return Status::not_supported; }
  virtual Status do_graph_instantiate(GraphInstance&, Graph) { return Status::not_supported; }
  virtual Status do_graph_launch(GraphInstance, Stream) { return Status::not_supported; }
  virtual Status do_graph_destroy(Graph) { return Status::not_supported; }
  virtual Status do_graph_instance_destroy(GraphInstance) { return Status::not_supported; }
  virtual Status do_graph_memory_trim() { return Status::not_supported; }

 private:
  template <typename Made>
  Status through(Call& call, Made&& made);
  template <typename Made>
  Status through(Call&& call, Made&& made);

  const Profile profile_;
  const Work work_;
  CallGate* gate_ = nullptr;
  Recordings recordings_;
  Status last_error_ = Status::success;
};

struct DeviceOptions {
  Device::Work work = Device::Work::full;
  std::size_t capacity_bytes = 0;  ///< 0: the profile's. Otherwise total memory is this much.
  std::uint64_t seed = 1;          ///< Host lane: the order in which streams' work retires.
  /// Cuda lane: event_query() says nothing of how fast this GPU is. An event of which no wait has told is
  /// not ready when it is first asked for; asked again, it is waited for.
  bool repeatable = false;
};

/// The simulated device.
std::unique_ptr<Device> make_host_device(const Profile& profile, const DeviceOptions& options);

/// GPU 0 with at most the options' capacity, or null and a reason when this build or machine has none.
std::unique_ptr<Device> make_cuda_device(const Profile& profile, const DeviceOptions& options,
                                         std::string& why_not);

}  // namespace drought
