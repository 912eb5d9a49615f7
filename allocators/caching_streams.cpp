// The caching allocator's blocks that were used on other streams than their own: each such use gets an
// event when the block is freed, and the block becomes free when the last of them has completed.
#include <algorithm>

#include "allocators/caching.hpp"

namespace drought {

Caching::~Caching() {
  try {
    wait_for_events();
  } catch (const DeviceError&) {
    // The device is past use: blocks whose uses cannot be waited for are not given back.
  }
  listener_ = nullptr;
  const auto give_back = [&](CachedPool& pool) {
    try {
      release_from(pool);
    } catch (const DeviceError&) {
      // Pages whose work cannot be waited for stay with the device.
    }
  };
  give_back(large_);
  give_back(small_);
  for (auto& [id, pool] : pools_) {
    give_back(pool->small);
    give_back(pool->large);
  }
  for (const Event event : idle_events_) (void)device_.event_destroy(event);
  for (const auto& [stream, queue] : pending_)
    for (const Pending& pending : queue) (void)device_.event_destroy(pending.event);
}

void Caching::record_stream(void* data, Stream stream) {
  CachedBlock** const lent = lent_.find(reinterpret_cast<std::uintptr_t>(data));
  if (!lent || (*lent)->home->stream() == stream.id) return;
  std::vector<Use>& uses = uses_[*lent];
  const auto is_known = [&](const Use& use) { return use.stream == stream; };
  if (std::none_of(uses.begin(), uses.end(), is_known)) uses.push_back({stream, captures_ != 0});
  (*lent)->has_stream_uses = true;
}

void Caching::fence(CachedBlock* block) {
  const auto uses = uses_.find(block);
  block->has_stream_uses = false;
  bool is_fenced = true;
  for (const auto& [stream, in_capture] : uses->second) {
    Event event;
    ++block->events_pending;
    if (!idle_events_.empty()) {
      event = idle_events_.back();
      idle_events_.pop_back();
    } else if (device_.event_create(event) != Status::success) {
      is_fenced = false;
      continue;
    }
    if (device_.event_record(event, stream) == Status::success) {
      pending_[stream].push_back({event, block});
    } else {
      idle_events_.push_back(event);
      is_fenced = false;
    }
  }
  uses_.erase(uses);
  if (is_fenced) return;
  unfenced_.push_back(block);
  fell_back_ = true;
  (void)device_.take_last_error();  // The wait takes care of it, so the next call need not mind it.
}

// What was used only while the capture lasted has completed with it.
void Caching::fence_deferred() {
  for (CachedBlock* block : std::exchange(deferred_, {})) {
    std::vector<Use>& uses = uses_.at(block);
    std::erase_if(uses, [](const Use& use) { return use.in_capture; });
    if (!uses.empty()) {
      fence(block);
      continue;
    }
    uses_.erase(block);
    block->has_stream_uses = false;
    become_free(block);
  }
}

void Caching::use_completed(const Pending& pending) {
  idle_events_.push_back(pending.event);
  if (--pending.block->events_pending == 0) become_free(pending.block);
}

// Each queue stops at its first event that is not ready. PyTorch visits the streams in the order of a
// hash map, which no other program can repeat; here they are visited by rising handle.
void Caching::poll_events() {
  if (captures_ != 0) return;
  fence_deferred();
  for (auto queue = pending_.begin(); queue != pending_.end();) {
    auto& [stream, entries] = *queue;
    while (!entries.empty()) {
      const Status status = device_.event_query(entries.front().event);
      if (status == Status::not_ready) break;
      if (status != Status::success) throw DeviceError(status, "cudaEventQuery");
      const Pending completed = entries.front();
      entries.pop_front();
      use_completed(completed);
    }
    queue = entries.empty() ? pending_.erase(queue) : std::next(queue);
  }
}

void Caching::wait_for_events() {
  fence_deferred();
  if (!unfenced_.empty()) {
    const Status status = device_.synchronize();
    if (status != Status::success) throw DeviceError(status, "cudaDeviceSynchronize");
  }
  while (!pending_.empty()) {
    auto& [stream, entries] = *pending_.begin();
    while (!entries.empty()) {
      const Status status = device_.event_synchronize(entries.front().event);
      if (status != Status::success) throw DeviceError(status, "cudaEventSynchronize");
      const Pending completed = entries.front();
      entries.pop_front();
      use_completed(completed);
    }
    pending_.erase(pending_.begin());
  }
  // What is left of their counts are the uses that no event stands for.
  for (CachedBlock* block : std::exchange(unfenced_, {})) {
    block->events_pending = 0;
    become_free(block);
  }
}

}  // namespace drought
