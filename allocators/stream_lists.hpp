// Free lists by stream, with RMM's order of search: first the list of the requesting stream, then every
// other one as it is, then all of them merged one by one into the requesting stream's. A list is fenced
// by one event, recorded behind the latest free; whoever takes from another stream's list waits for it.
// Streams are visited in the order in which they were first seen (RMM: by the address of their events,
// which no other program can repeat).
//
// After a merge the event is recorded again behind the waits. RMM did not before PR 2490, so that a third
// stream could take a merged block while the stream that freed it still used it.
// Rules: rmm/mr/detail/stream_ordered_memory_resource.hpp.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/resource.hpp"

namespace drought {

/// A List is made from a stream's handle, and at_least(bytes) answers the block it would give, or null.
template <typename List>
class StreamLists {
 public:
  using Block = decltype(std::declval<List&>().at_least(std::size_t{}));
  struct Found {
    Block block{};
    List* home = nullptr;  ///< Where the block still is; null when none was found.
  };

  /// `device` outlives this. `fences_merges`: as RMM does since PR 2490.
  StreamLists(Device& device, bool fences_merges) : device_(device), fences_merges_(fences_merges) {}
  StreamLists(const StreamLists&) = delete;
  StreamLists& operator=(const StreamLists&) = delete;
  ~StreamLists() { release_events(); }

  List& of(Stream stream) { return entry(stream).list; }

  /// merge(List& into, List& from) moves every block. Throws DeviceError when a wait cannot be queued;
  /// nothing has been taken then.
  template <typename Merge>
  Found find(std::size_t bytes, Stream stream, Merge&& merge) {
    Entry& own = entry(stream);
    if (const Block block = own.list.at_least(bytes)) return {block, &own.list};
    for (const auto& other : entries_) {
      if (other.get() == &own) continue;
      const Block block = other->list.at_least(bytes);
      if (!block) continue;
      wait_for(*other, stream);
      return {block, &other->list};
    }
    for (const auto& other : entries_) {
      if (other.get() == &own || !other->list.at_least(0)) continue;
      merge_lists(own, *other, merge);
      if (const Block block = own.list.at_least(bytes)) return {block, &own.list};
    }
    return {};
  }

  /// The host waits for every free, and every list ends up in that of `stream`. Throws DeviceError.
  template <typename Merge>
  List& settle(Stream stream, Merge&& merge) {
    Entry& own = entry(stream);
    for (const auto& each : entries_) {
      wait_on_host(*each);
      if (each.get() != &own && each->list.at_least(0)) merge(own.list, each->list);
    }
    return own.list;
  }

  /// A block used on `stream` goes back to its list now. An event that cannot be recorded is replaced by a
  /// wait for the whole device when somebody else wants what it stands for.
  void freed(Stream stream) { record(entry(stream)); }

  /// Empty, or that the above happened since the last call.
  std::string_view take_fallback() noexcept {
    return std::exchange(fell_back_, false) ? "a free without an event waits for the device" : "";
  }

  /// visit(const List&) in the order of the search.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const auto& each : entries_) visit(each->list);
  }

  /// Waits for every free and gives the events back, as RMM does at its end.
  void release_events() noexcept {
    for (const auto& each : entries_) {
      if (each->event.id == 0) continue;
      (void)device_.event_synchronize(each->event);
      (void)device_.event_destroy(each->event);
      each->event = {};
    }
  }

 private:
  struct Entry {
    explicit Entry(Stream of) : stream(of), list(of.id) {}
    const Stream stream;
    List list;
    Event event;  ///< None before the first free.
    bool is_unfenced = false;
  };

  Entry& entry(Stream stream) {
    for (const auto& each : entries_)
      if (each->stream == stream) return *each;
    entries_.push_back(std::make_unique<Entry>(stream));
    return *entries_.back();
  }

  template <typename Merge>
  void merge_lists(Entry& into, Entry& from, Merge&& merge) {
    wait_for(from, into.stream);
    merge(into.list, from.list);
    if (fences_merges_) record(into);
  }

  void record(Entry& each) {
    const bool has_event = each.event.id != 0 || device_.event_create(each.event) == Status::success;
    const bool fenced = has_event && device_.event_record(each.event, each.stream) == Status::success;
    if (!fenced) each.is_unfenced = fell_back_ = true;
  }

  void wait_for(Entry& other, Stream stream) {
    if (other.is_unfenced) return wait_on_host(other);
    if (other.event.id == 0) return;  // Nothing in it was ever used.
    const Status status = device_.stream_wait_event(stream, other.event);
    if (status != Status::success) throw DeviceError(status, "cudaStreamWaitEvent");
  }

  void wait_on_host(Entry& each) {
    if (each.is_unfenced) {
      const Status status = device_.synchronize();
      if (status != Status::success) throw DeviceError(status, "cudaDeviceSynchronize");
      each.is_unfenced = false;
    } else if (each.event.id != 0) {
      const Status status = device_.event_synchronize(each.event);
      if (status != Status::success) throw DeviceError(status, "cudaEventSynchronize");
    }
  }

  Device& device_;
  const bool fences_merges_;
  bool fell_back_ = false;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace drought
