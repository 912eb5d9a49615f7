#include "harness/trace/trace_driver.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

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

std::string hexadecimal(std::uint64_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

std::string describe(const TraceEvent& event) {
  std::string text = std::string(name(event.action)) + " of " + std::to_string(event.bytes) + " B";
  if (event.action != TraceAction::oom) text += " at " + hexadecimal(event.address);
  return text + " on stream " + std::to_string(event.stream);
}

void TraceDriver::expect(std::size_t begin, std::size_t end, std::size_t cause) {
  at_ = begin;
  end_ = end;
  cause_ = cause;
  skip_frees();
}

void TraceDriver::skip_frees() {
  while (at_ != end_ && events_[at_].action == TraceAction::free_completed) ++at_;
}

void TraceDriver::expect_nothing_more() {
  for (; at_ != end_; ++at_, skip_frees())
    differences_.compare(false, at_, "expected " + describe(events_[at_]) + ", got nothing");
}

bool TraceDriver::is_unused(std::uintptr_t begin, std::size_t bytes) const {
  if (begin == 0 || bytes > ~begin) return false;
  const auto after = lent_.lower_bound(begin);
  if (after != lent_.end() && after->first < begin + bytes) return false;
  return after == lent_.begin() || std::prev(after)->first + std::prev(after)->second <= begin;
}

// The trace's allocator was refused where it went on to give memory back, or gave up.
bool TraceDriver::refuses_here() {
  if (at_ == end_) return false;
  const TraceAction next = events_[at_].action;
  const bool refuses =
      next == TraceAction::oom || next == TraceAction::segment_free || next == TraceAction::segment_unmap;
  refusals_ += refuses;
  return refuses;
}

std::uintptr_t TraceDriver::own_addresses(std::size_t bytes) {
  if (bytes >= next_own_ || round_up(bytes, 2_MiB) > ~next_own_) return 0;
  return std::exchange(next_own_, next_own_ + round_up(bytes, 2_MiB));
}

void TraceDriver::hold(std::uintptr_t begin, std::size_t bytes) {
  lent_[begin] = bytes;
  reserved_bytes_ += bytes;
  peak_reserved_bytes_ = std::max(peak_reserved_bytes_, reserved_bytes_);
}

void* TraceDriver::allocate(Request request) {
  if (refuses_here()) throw OutOfMemory(request, "refused in the trace");
  const bool is_there = at_ != end_ && events_[at_].action == TraceAction::segment_alloc;
  std::uintptr_t address = is_there ? events_[at_].address : 0;
  if (!is_unused(address, request.bytes)) address = own_addresses(request.bytes);
  if (address == 0) throw OutOfMemory(request, "no addresses are left");
  hold(address, request.bytes);
  return reinterpret_cast<void*>(address);
}

void TraceDriver::deallocate(void* block, Request request) noexcept {
  if (lent_.erase(reinterpret_cast<std::uintptr_t>(block))) reserved_bytes_ -= request.bytes;
}

bool TraceDriver::may_map() { return !refuses_here(); }

std::uintptr_t TraceDriver::reserve(std::size_t bytes) {
  if (at_ != end_ && events_[at_].action == TraceAction::segment_map && events_[at_].address < ~bytes)
    return events_[at_].address;
  return own_addresses(bytes);
}

void TraceDriver::unmap(std::uintptr_t begin, std::size_t bytes) {
  is_page_.erase(begin);
  if (lent_.erase(begin)) reserved_bytes_ -= bytes;
}

std::map<std::uintptr_t, std::size_t> TraceDriver::ranges() const {
  std::map<std::uintptr_t, std::size_t> joined;
  for (const auto& [begin, bytes] : lent_) {
    const bool is_next = !joined.empty() && is_page_.contains(begin) &&
                         joined.rbegin()->first + joined.rbegin()->second == begin;
    if (is_next)
      joined.rbegin()->second += bytes;
    else
      joined.emplace(begin, bytes);
  }
  return joined;
}

void TraceDriver::decided(const Decision& decision) {
  TraceEvent got;
  got.action = action_of(decision.kind);
  got.address = decision.address;
  got.bytes = decision.bytes;
  got.stream = decision.stream;
  const bool gives_back = got.action == TraceAction::segment_free || got.action == TraceAction::segment_unmap;
  ++differences_.compared;
  if (at_ == end_) {
    differences_.gave_back_too_much |= gives_back && differences_.found == 0;
    return differences_.differ(cause_, "expected no segment event here, got " + describe(got));
  }
  const TraceEvent& expected = events_[at_];
  const bool is_same_kind = got.action == expected.action;
  // Of an oom the address is what the device had free, which only the driver knows.
  const bool is_same_place = got.action == TraceAction::oom || got.address == expected.address;
  const bool is_equal =
      is_same_kind && is_same_place && got.bytes == expected.bytes && got.stream == expected.stream;
  if (!is_equal) {
    differences_.gave_back_too_much |= gives_back && !is_same_kind && differences_.found == 0;
    differences_.differ(at_, "expected " + describe(expected) + ", got " + describe(got));
  }
  if (!is_same_kind) return;
  ++at_;
  skip_frees();
}

}  // namespace drought
