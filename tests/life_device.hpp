// The device under a recorded life of the caching allocator: addresses and completions by chance, as a driver
// and running work give them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "harness/sched/random.hpp"
#include "tests/plain_device.hpp"

namespace drought {

/// Lends addresses in no order, never one twice, and tells when a block's last use has completed.
class LifeDevice final : public PlainDevice {
 public:
  LifeDevice(std::size_t bytes, std::uint64_t seed) : free_bytes_(bytes), random_(seed) {}

  std::uint64_t freeing = 0;  ///< The block that is being freed: its events are recorded now.
  std::function<void(std::uint64_t)> on_completed;
  void complete(Stream stream) { ready_until_[stream.id] = last_event_; }

 protected:
  Status do_malloc(void*& out, std::size_t bytes) override {
    if (bytes > free_bytes_) return Status::memory_allocation;
    free_bytes_ -= bytes;
    out = reinterpret_cast<void*>(addresses());
    sizes_[reinterpret_cast<std::uintptr_t>(out)] = bytes;
    return Status::success;
  }
  Status do_free(void* block) override {
    free_bytes_ += sizes_.at(reinterpret_cast<std::uintptr_t>(block));
    return Status::success;
  }
  Status do_mem_info(MemInfo& out) override {
    out = {free_bytes_, 64_GiB};  // Somebody else has the rest.
    return Status::success;
  }
  Status do_mem_create(MemoryHandle& out, std::size_t bytes) override {
    if (bytes > free_bytes_) return Status::memory_allocation;
    free_bytes_ -= bytes;
    out.id = ++last_handle_;
    sizes_[out.id] = bytes;
    return Status::success;
  }
  Status do_mem_release(MemoryHandle handle) override {
    free_bytes_ += sizes_.at(handle.id);
    return Status::success;
  }
  Status do_address_reserve(void*& out, std::size_t) override {
    out = reinterpret_cast<void*>(addresses());
    return Status::success;
  }
  Status do_address_free(void*, std::size_t) override { return Status::success; }
  Status do_mem_map(void*, std::size_t, std::size_t, MemoryHandle) override { return Status::success; }
  Status do_mem_unmap(void*, std::size_t) override { return Status::success; }
  Status do_mem_set_access(void*, std::size_t, Protection) override { return Status::success; }
  Status do_stream_synchronize(Stream) override { return Status::success; }
  Status do_event_create(Event& out) override {
    out.id = ++created_;
    return Status::success;
  }
  Status do_event_destroy(Event) override { return Status::success; }
  Status do_event_record(Event event, Stream stream) override {
    records_[event.id] = {freeing, stream.id, ++last_event_};
    ++uses_[freeing];
    return Status::success;
  }
  Status do_event_query(Event event) override {
    const Recorded& recorded = records_.at(event.id);
    if (recorded.time > ready_until_[recorded.stream]) return Status::not_ready;
    return done(recorded);
  }
  Status do_event_synchronize(Event event) override { return done(records_.at(event.id)); }

 private:
  struct Recorded {
    std::uint64_t block, stream, time;
  };
  Status done(const Recorded& recorded) {
    if (--uses_.at(recorded.block) == 0) on_completed(recorded.block);
    return Status::success;
  }
  std::uintptr_t addresses() {
    // 2^14 places of 2^32 bytes each, taken in a scattered order.
    const std::uint64_t place = (offset_ + ++taken_ * 9973) % 16384;
    return (std::uintptr_t{1} << 47) + (place << 32) + (random_.below(64) << 21);
  }

  std::size_t free_bytes_;
  Random random_;
  std::uint64_t offset_ = random_.below(16384), taken_ = 0;
  std::uint64_t created_ = 0, last_event_ = 0, last_handle_ = 0;
  std::map<std::uint64_t, std::size_t> sizes_;
  std::map<std::uint64_t, Recorded> records_;
  std::map<std::uint64_t, std::uint64_t> ready_until_, uses_;
};

}  // namespace drought
