// A device for kernel tests that is nothing but a launcher: memory is the test's own, a launch runs at once,
// and everything else is not supported.
#pragma once

#include <string>

#include "harness/device/device.hpp"

namespace drought {

class PlainDevice : public Device {
 public:
  PlainDevice() : Device(profile_named("h200"), Work::full) {}
  Lane lane() const override { return Lane::host; }
  Status set_peer(std::string_view, std::size_t) override { return Status::not_supported; }
  std::uint64_t offset_of(const void*) const override { return 0; }
  std::size_t held_bytes() const override { return 0; }

 protected:
  Status do_launch(const Launch& launch) override { return launch.host(launch); }

  Status do_malloc(void*&, std::size_t) override { return Status::not_supported; }
  Status do_free(void*) override { return Status::not_supported; }
  Status do_mem_info(MemInfo&) override { return Status::not_supported; }
  Status do_pointer_kind(const void*, PointerKind&) override { return Status::not_supported; }
  Status do_malloc_host(void*&, std::size_t) override { return Status::not_supported; }
  Status do_free_host(void*) override { return Status::not_supported; }
  Status do_host_register(const void*, std::size_t, HostRegistration) override {
    return Status::not_supported;
  }
  Status do_host_unregister(const void*) override { return Status::not_supported; }
  Status do_mem_create(MemoryHandle&, std::size_t) override { return Status::not_supported; }
  Status do_mem_release(MemoryHandle) override { return Status::not_supported; }
  Status do_address_reserve(void*&, std::size_t) override { return Status::not_supported; }
  Status do_address_free(void*, std::size_t) override { return Status::not_supported; }
  Status do_mem_map(void*, std::size_t, std::size_t, MemoryHandle) override { return Status::not_supported; }
  Status do_mem_unmap(void*, std::size_t) override { return Status::not_supported; }
  Status do_mem_set_access(void*, std::size_t, Protection) override { return Status::not_supported; }
  Status do_stream_create(Stream&) override { return Status::not_supported; }
  Status do_stream_destroy(Stream) override { return Status::not_supported; }
  Status do_stream_synchronize(Stream) override { return Status::not_supported; }
  Status do_stream_wait_event(Stream, Event) override { return Status::not_supported; }
  Status do_event_create(Event&) override { return Status::not_supported; }
  Status do_event_destroy(Event) override { return Status::not_supported; }
  Status do_event_record(Event, Stream) override { return Status::not_supported; }
  Status do_event_query(Event) override { return Status::not_supported; }
  Status do_event_synchronize(Event) override { return Status::not_supported; }
  Status do_synchronize() override { return Status::success; }
  Status do_memset(void*, std::uint8_t, std::size_t, Stream) override { return Status::not_supported; }
  Status do_memcpy(void*, const void*, std::size_t, Stream) override { return Status::not_supported; }
};

}  // namespace drought
