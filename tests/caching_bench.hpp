// The caching allocator over a device of a given capacity, with its decisions as text.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "allocators/caching.hpp"
#include "allocators/direct.hpp"
#include "tests/scripted_device.hpp"

namespace drought {

struct CachingBench : LogsDecisions::Listener {
  explicit CachingBench(std::size_t capacity_bytes = 64_GiB, Caching::Options options = {})
      : device(capacity_bytes), direct(device, {}), caching(direct, device, options) {
    caching.log_decisions_to(this);
  }

  void decided(const Decision& decision) override {
    constexpr const char* kNames[] = {"alloc", "free", "map", "unmap", "oom"};
    std::string text =
        std::string(kNames[static_cast<int>(decision.kind)]) + " " + std::to_string(decision.bytes);
    if (decision.kind != Decision::Kind::oom)
      text += " @" + std::to_string(decision.address - ScriptedDevice::kBase);
    decisions.push_back(text);
    if (decision.kind == Decision::Kind::segment_alloc) segments[decision.address] = decision.bytes;
  }

  /// Whether the segment that holds `address` belongs to the small pool.
  bool is_in_small_segment(std::uintptr_t address) const {
    return std::prev(segments.upper_bound(address))->second == 2_MiB;
  }

  /// The block's offset.
  std::uint64_t take(std::size_t bytes, std::uint64_t stream = 0) {
    void* block = caching.allocate({.bytes = bytes, .stream = {stream}});
    requests[device.offset_of(block)] = {.bytes = bytes, .stream = {stream}};
    return device.offset_of(block);
  }
  void* at(std::uint64_t offset) const { return reinterpret_cast<void*>(ScriptedDevice::kBase + offset); }
  void give(std::uint64_t offset) { caching.deallocate(at(offset), requests.at(offset)); }
  void give_all() {
    for (const auto& [offset, request] : requests) caching.deallocate(at(offset), request);
  }

  ScriptedDevice device;
  Direct direct;
  Caching caching;
  std::vector<std::string> decisions;
  std::map<std::uintptr_t, std::size_t> segments;
  std::map<std::uint64_t, Request> requests;
};

}  // namespace drought
