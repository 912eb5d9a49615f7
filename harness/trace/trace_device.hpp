// The device of a recorded run, played back: pages and events come as the trace says they came, and
// nothing lies behind any address. What an allocator asks of it is noted where the trace can tell whether
// it should have asked.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/trace/trace_driver.hpp"

namespace drought {

class TraceDevice final : public Device {
 public:
  /// `driver` outlives this.
  explicit TraceDevice(TraceDriver& driver) : Device(profile_named("h200"), Work::shapes), driver_(driver) {}

  Lane lane() const override { return Lane::host; }
  Status set_peer(std::string_view, std::size_t) override { return Status::not_supported; }
  std::uint64_t offset_of(const void* pointer) const override {
    return reinterpret_cast<std::uintptr_t>(pointer);
  }
  std::size_t held_bytes() const override { return driver_.reserved_bytes(); }

  /// Work on the stream has completed, so that its events are ready.
  void complete(Stream stream) { completed_.insert(stream.id); }
  /// The streams whose events were waited for since the last call, and had not completed.
  std::vector<Stream> take_waited() { return std::exchange(waited_, {}); }

 protected:
  Status do_malloc(void*& out, std::size_t bytes) override;
  Status do_free(void* block) override;
  Status do_mem_info(MemInfo& out) override;
  Status do_mem_create(MemoryHandle& out, std::size_t bytes) override;
  Status do_mem_release(MemoryHandle) override { return Status::success; }
  Status do_address_reserve(void*& out, std::size_t bytes) override;
  Status do_address_free(void*, std::size_t) override { return Status::success; }
  Status do_mem_map(void* begin, std::size_t bytes, std::size_t offset, MemoryHandle handle) override;
  Status do_mem_unmap(void* begin, std::size_t bytes) override;
  Status do_mem_set_access(void*, std::size_t, Protection) override { return Status::success; }
  Status do_event_create(Event& out) override;
  Status do_event_destroy(Event) override { return Status::success; }
  Status do_event_record(Event event, Stream stream) override;
  Status do_event_query(Event event) override;
  Status do_event_synchronize(Event event) override;
  Status do_stream_create(Stream& out) override;
  Status do_stream_destroy(Stream) override { return Status::success; }
  Status do_stream_synchronize(Stream) override { return Status::success; }
  Status do_stream_wait_event(Stream, Event) override { return Status::success; }
  Status do_synchronize() override { return Status::success; }
  Status do_memset(void*, std::uint8_t, std::size_t, Stream) override { return Status::success; }
  Status do_memcpy(void*, const void*, std::size_t, Stream) override { return Status::success; }

  Status do_pointer_kind(const void*, PointerKind&) override { return Status::not_supported; }
  Status do_malloc_host(void*&, std::size_t) override { return Status::not_supported; }
  Status do_free_host(void*) override { return Status::not_supported; }
  Status do_host_register(const void*, std::size_t, HostRegistration) override {
    return Status::not_supported;
  }
  Status do_host_unregister(const void*) override { return Status::not_supported; }
  Status do_launch(const Launch&) override { return Status::not_supported; }

 private:
  TraceDriver& driver_;
  std::map<std::uintptr_t, Request> lent_;                     // By cudaMalloc.
  std::unordered_map<std::uint64_t, std::uint64_t> recorded_;  // From an event to its stream.
  std::unordered_set<std::uint64_t> completed_;
  std::vector<Stream> waited_;
  std::uint64_t last_event_ = 0, last_handle_ = 0, last_stream_ = std::uint64_t{1} << 62;
};

}  // namespace drought
