#include "harness/trace/trace_driver.hpp"

#include <algorithm>
#include <cstdio>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

std::string hexadecimal(std::uint64_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

TraceAction action_of(Decision::Kind kind) {
  switch (kind) {
    case Decision::Kind::segment_alloc:
      return TraceAction::segment_alloc;
    case Decision::Kind::segment_free:
      return TraceAction::segment_free;
    case Decision::Kind::segment_map:
      return TraceAction::segment_map;
    case Decision::Kind::segment_unmap:
      return TraceAction::segment_unmap;
    case Decision::Kind::oom:
      break;
  }
  return TraceAction::oom;
}

}  // namespace

std::string describe(const TraceEvent& event) {
  std::string text = std::string(name(event.action)) + " of " + std::to_string(event.bytes) + " B";
  if (event.action != TraceAction::oom) text += " at " + hexadecimal(event.address);
  return text + " on stream " + std::to_string(event.stream);
}

void TraceDriver::expect(std::size_t begin, std::size_t end, std::size_t cause) {
  at_ = begin;
  end_ = end;
  cause_ = cause;
}

void TraceDriver::expect_nothing_more() {
  for (; at_ != end_; ++at_)
    differences_.compare(false, at_, "expected " + describe(events_[at_]) + ", got nothing");
}

bool TraceDriver::is_unused(std::uintptr_t begin, std::size_t bytes) const {
  if (begin == 0 || bytes > ~begin) return false;
  const auto after = lent_.lower_bound(begin);
  if (after != lent_.end() && after->first < begin + bytes) return false;
  return after == lent_.begin() || std::prev(after)->first + std::prev(after)->second <= begin;
}

void* TraceDriver::allocate(Request request) {
  std::uintptr_t address = 0;
  if (at_ != end_) {
    const TraceEvent& next = events_[at_];
    if (next.action == TraceAction::oom || next.action == TraceAction::segment_free)
      throw OutOfMemory(request, "refused in the trace");
    if (next.action == TraceAction::segment_alloc) address = next.address;
  }
  if (!is_unused(address, request.bytes)) {
    address = next_own_;
    if (request.bytes >= next_own_ || round_up(request.bytes, 2_MiB) > ~next_own_)
      throw OutOfMemory(request, "no addresses are left");
    next_own_ += round_up(request.bytes, 2_MiB);
  }
  lent_[address] = request.bytes;
  reserved_bytes_ += request.bytes;
  peak_reserved_bytes_ = std::max(peak_reserved_bytes_, reserved_bytes_);
  return reinterpret_cast<void*>(address);
}

void TraceDriver::deallocate(void* block, Request request) noexcept {
  if (lent_.erase(reinterpret_cast<std::uintptr_t>(block))) reserved_bytes_ -= request.bytes;
}

void TraceDriver::decided(const Decision& decision) {
  TraceEvent got;
  got.action = action_of(decision.kind);
  got.address = decision.address;
  got.bytes = decision.bytes;
  got.stream = decision.stream;
  if (at_ == end_) {
    ++differences_.compared;
    return differences_.differ(cause_, "expected no segment event here, got " + describe(got));
  }
  const TraceEvent& expected = events_[at_];
  const bool is_same_kind = got.action == expected.action;
  // Of an oom the address is what the device had free, which only the driver knows.
  const bool is_same_place = got.action == TraceAction::oom || got.address == expected.address;
  const bool is_equal =
      is_same_kind && is_same_place && got.bytes == expected.bytes && got.stream == expected.stream;
  ++differences_.compared;
  if (!is_equal) differences_.differ(at_, "expected " + describe(expected) + ", got " + describe(got));
  if (is_same_kind) ++at_;
}

}  // namespace drought
