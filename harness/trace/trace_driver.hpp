// The driver of a recorded run, played back: it lends the addresses that the trace says it lent, and
// holds each decision of the allocator against the events that the trace has at that place.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_set>

#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/trace/trace.hpp"

namespace drought {

/// Counts what was compared and keeps the first difference.
struct Differences {
  std::size_t compared = 0, found = 0;
  std::string first{};              ///< "expected …, got …".
  std::size_t first_event = 0;      ///< Its index in the device's trace.
  bool gave_back_too_much = false;  ///< It was memory that the trace did not give back there.

  void compare(bool is_equal, std::size_t event, const std::string& text) {
    ++compared;
    if (!is_equal) differ(event, text);
  }
  void differ(std::size_t event, const std::string& text) {
    if (found++ == 0) {
      first = text;
      first_event = event;
    }
  }
};

class TraceDriver final : public Resource, public LogsDecisions::Listener {
 public:
  TraceDriver(std::span<const TraceEvent> events, Differences& differences)
      : events_(events), differences_(differences) {}

  /// What the next call must cause: events [begin, end), the last of them perhaps an oom. `cause` is
  /// the event that the call itself stands for.
  /// Frees that complete in between are no decisions.
  void expect(std::size_t begin, std::size_t end, std::size_t cause);
  /// Counts the expected events that did not come.
  void expect_nothing_more();
  bool expects_more() const { return at_ != end_; }

  /// What the recording found is lent from the start.
  void resume(std::uintptr_t begin, std::size_t bytes) { hold(begin, bytes); }
  /// How often it refused because the trace shows that the driver did.
  std::size_t refusals() const { return refusals_; }

  /// Whether the trace's driver maps pages at this place. A request that the trace does not have is
  /// served all the same, since it is a difference already.
  bool may_map();
  /// Addresses for an expandable segment: where the trace maps its first page. 0 when there are none.
  std::uintptr_t reserve(std::size_t bytes);
  void map(std::uintptr_t begin, std::size_t bytes) {
    hold(begin, bytes);
    is_page_.insert(begin);
  }
  void unmap(std::uintptr_t begin, std::size_t bytes);

  /// The address of the segment that the trace borrows next. OutOfMemory where the trace's allocator
  /// gives segments back or fails at this place. Any other request is a difference, and gets an
  /// address that the trace does not use.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;
  void decided(const Decision& decision) override;

  /// What is lent, by address; pages in a row are one range.
  std::map<std::uintptr_t, std::size_t> ranges() const;
  std::size_t reserved_bytes() const { return reserved_bytes_; }
  std::size_t peak_reserved_bytes() const { return peak_reserved_bytes_; }

 private:
  bool is_unused(std::uintptr_t begin, std::size_t bytes) const;
  bool refuses_here();
  std::uintptr_t own_addresses(std::size_t bytes);
  void hold(std::uintptr_t begin, std::size_t bytes);
  void skip_frees();

  const std::span<const TraceEvent> events_;
  Differences& differences_;
  std::size_t at_ = 0, end_ = 0, cause_ = 0;
  std::map<std::uintptr_t, std::size_t> lent_;
  std::unordered_set<std::uintptr_t> is_page_;
  std::size_t reserved_bytes_ = 0, peak_reserved_bytes_ = 0, refusals_ = 0;
  std::uintptr_t next_own_ = std::uintptr_t{1} << 60;  // Above what any GPU uses.
};

std::string hexadecimal(std::uint64_t address);

/// "segment_alloc of 2097152 B at 0x7f…".
std::string describe(const TraceEvent& event);

}  // namespace drought
