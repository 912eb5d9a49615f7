// A device that only counts: memory is a number that is handed out upwards in steps of 2 MiB and taken
// back, and an event completes when the test says so. For tests of bookkeeping that never touch memory.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/resource.hpp"

namespace drought {

class ScriptedDevice final : public Device {
 public:
  static constexpr std::uintptr_t kBase = std::uintptr_t{1} << 40;

  explicit ScriptedDevice(std::size_t capacity_bytes = 64_GiB)
      : Device(profile_named("h200"), Work::shapes), capacity_bytes_(capacity_bytes) {}

  Lane lane() const override { return Lane::host; }
  Status set_peer(std::string_view, std::size_t) override { return Status::not_supported; }
  std::uint64_t offset_of(const void* pointer) const override {
    return reinterpret_cast<std::uintptr_t>(pointer) - kBase;
  }

  std::size_t held_bytes() const override { return used_bytes_; }

  /// What the next calls of the kind answer.
  Status event_record_answer = Status::success;
  Status event_create_answer = Status::success;
  Status synchronize_answer = Status::success;
  Status free_answer = Status::success;
  Status malloc_answer = Status::success;
  Status mem_create_answer = Status::success;
  Status mem_map_answer = Status::success;
  Status mem_unmap_answer = Status::success;
  Status mem_set_access_answer = Status::success;
  Status address_reserve_answer = Status::success;
  Status stream_wait_answer = Status::success;
  Status stream_synchronize_answer = Status::success;
  /// Who was made to wait for what, in order.
  std::vector<std::string> waits;

  void complete(Stream stream) {
    for (auto event = waiting_.begin(); event != waiting_.end();)
      event = event->second == stream.id ? waiting_.erase(event) : std::next(event);
  }

  std::size_t used_bytes() const { return used_bytes_; }
  std::size_t mallocs() const { return mallocs_; }
  std::size_t frees() const { return frees_; }
  std::size_t synchronizes() const { return synchronizes_; }
  std::size_t mapped_pages() const { return mapped_.size(); }
  std::size_t reservations() const { return reservations_; }
  std::size_t live_events() const { return live_events_.size(); }

 protected:
  Status do_malloc(void*& out, std::size_t bytes) override {
    ++mallocs_;
    if (malloc_answer != Status::success) return malloc_answer;
    if (bytes > capacity_bytes_ - used_bytes_) return Status::memory_allocation;
    out = reinterpret_cast<void*>(next_);
    live_[next_] = bytes;
    next_ += round_up(bytes, 2_MiB);
    used_bytes_ += bytes;
    return Status::success;
  }
  Status do_free(void* block) override {
    if (free_answer != Status::success) return free_answer;
    const auto found = live_.find(reinterpret_cast<std::uintptr_t>(block));
    if (found == live_.end()) return Status::invalid_value;
    ++frees_;
    used_bytes_ -= found->second;
    live_.erase(found);
    return Status::success;
  }
  Status do_mem_info(MemInfo& out) override {
    out = {capacity_bytes_ - used_bytes_, capacity_bytes_};
    return Status::success;
  }
  Status do_event_create(Event& out) override {
    if (event_create_answer != Status::success) return event_create_answer;
    live_events_.insert(out.id = ++last_event_);
    return Status::success;
  }
  Status do_event_destroy(Event event) override {
    return live_events_.erase(event.id) ? Status::success : Status::invalid_resource_handle;
  }
  Status do_event_record(Event event, Stream stream) override {
    if (event_record_answer != Status::success) return event_record_answer;
    waiting_[event.id] = stream.id;
    return Status::success;
  }
  Status do_event_query(Event event) override {
    return waiting_.contains(event.id) ? Status::not_ready : Status::success;
  }
  Status do_event_synchronize(Event event) override {
    waiting_.erase(event.id);
    return Status::success;
  }
  Status do_synchronize() override {
    ++synchronizes_;
    if (synchronize_answer == Status::success) waiting_.clear();
    return synchronize_answer;
  }

  Status do_mem_create(MemoryHandle& out, std::size_t bytes) override {
    ++mallocs_;
    if (mem_create_answer != Status::success) return mem_create_answer;
    if (bytes > capacity_bytes_ - used_bytes_) return Status::memory_allocation;
    used_bytes_ += bytes;
    handles_[out.id = ++last_handle_] = bytes;
    return Status::success;
  }
  Status do_mem_release(MemoryHandle handle) override {
    const auto found = handles_.find(handle.id);
    if (found == handles_.end()) return Status::invalid_value;
    ++frees_;
    used_bytes_ -= found->second;
    handles_.erase(found);
    return Status::success;
  }
  Status do_address_reserve(void*& out, std::size_t bytes) override {
    if (address_reserve_answer != Status::success) return address_reserve_answer;
    out = reinterpret_cast<void*>(next_);
    next_ += round_up(bytes, 2_MiB);
    ++reservations_;
    return Status::success;
  }
  Status do_address_free(void*, std::size_t) override {
    --reservations_;
    return Status::success;
  }
  Status do_mem_map(void* begin, std::size_t bytes, std::size_t, MemoryHandle) override {
    if (mem_map_answer != Status::success) return mem_map_answer;
    const bool is_new = mapped_.try_emplace(reinterpret_cast<std::uintptr_t>(begin), bytes).second;
    return is_new ? Status::success : Status::invalid_value;
  }
  Status do_mem_unmap(void* begin, std::size_t) override {
    if (mapped_.erase(reinterpret_cast<std::uintptr_t>(begin)) == 0) return Status::invalid_value;
    return mem_unmap_answer;  // Which reports earlier work: the page is unmapped.
  }
  Status do_mem_set_access(void*, std::size_t, Protection) override { return mem_set_access_answer; }

  Status do_pointer_kind(const void*, PointerKind&) override { return Status::not_supported; }
  Status do_malloc_host(void*&, std::size_t) override { return Status::not_supported; }
  Status do_free_host(void*) override { return Status::not_supported; }
  Status do_host_register(const void*, std::size_t, HostRegistration) override {
    return Status::not_supported;
  }
  Status do_host_unregister(const void*) override { return Status::not_supported; }
  Status do_stream_create(Stream&) override { return Status::not_supported; }
  Status do_stream_destroy(Stream) override { return Status::not_supported; }
  Status do_stream_synchronize(Stream stream) override {
    waits.push_back("host for stream " + std::to_string(stream.id));
    return stream_synchronize_answer;
  }
  Status do_stream_wait_event(Stream stream, Event event) override {
    if (stream_wait_answer != Status::success) return stream_wait_answer;
    waits.push_back("stream " + std::to_string(stream.id) + " for event " + std::to_string(event.id));
    return Status::success;
  }
  Status do_memset(void*, std::uint8_t, std::size_t, Stream) override { return Status::not_supported; }
  Status do_memcpy(void*, const void*, std::size_t, Stream) override { return Status::not_supported; }
  Status do_launch(const Launch&) override { return Status::not_supported; }

 private:
  const std::size_t capacity_bytes_;
  std::uintptr_t next_ = kBase;
  std::size_t used_bytes_ = 0, mallocs_ = 0, frees_ = 0, synchronizes_ = 0;
  std::size_t reservations_ = 0;
  std::map<std::uintptr_t, std::size_t> live_, mapped_;
  std::map<std::uint64_t, std::size_t> handles_;
  std::uint64_t last_handle_ = 0;
  std::map<std::uint64_t, std::uint64_t> waiting_;  // From an event to the stream it was recorded on.
  std::set<std::uint64_t> live_events_;
  std::uint64_t last_event_ = 0;
};

}  // namespace drought
