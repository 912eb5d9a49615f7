// What an allocator under test did with a driver, seen from both of its sides: the requests it served and,
// through the device's gate, each call it made. From these come the figures of a what-if replay and, when
// events are kept, a Trace in the words of PyTorch's recorder, which every writer can put into a file.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/trace/trace.hpp"

namespace drought {

class RunRecorder final : public CallGate, public LogsDecisions::Listener {
 public:
  enum class Keeps : std::uint8_t { figures, events };

  /// Stands at the device's gate while it lives. `device` outlives it.
  RunRecorder(Device& device, Keeps keeps);
  ~RunRecorder() override;
  RunRecorder(const RunRecorder&) = delete;

  /// What follows is caused by this event of the trace that is replayed.
  void begin(std::size_t index, const TraceEvent& cause) {
    index_ = index;
    cause_ = cause;
  }
  void lent(void* block, std::size_t bytes);
  /// Before the block is given back. False: it was not lent.
  bool returning(void* block);
  void refused(std::size_t bytes);
  /// An allocator that logs its decisions says in its own words what it refused; its calls are seen anyway.
  void decided(const Decision& decision) override;

  void enter(Call&) override {}
  void leave(Call& call, Status status) noexcept override;

  std::size_t reserved_bytes() const { return device_.held_bytes(); }
  std::size_t peak_reserved_bytes() const { return peak_reserved_bytes_; }
  std::size_t peak_event() const { return peak_event_; }  ///< At which reserved memory first was most.
  std::size_t live_bytes() const { return live_bytes_; }  ///< As requested.
  std::size_t peak_live_bytes() const { return peak_live_bytes_; }
  /// The longest run of bytes in one segment, or in adjacent mapped ranges, that no live block covers.
  std::size_t largest_hole_bytes() const;
  std::size_t calls(Site site) const { return calls_[static_cast<std::size_t>(site)]; }

  /// The events kept, and the segments and blocks as they are now. Addresses are the device's offsets
  /// above 1 TiB, the same in every run. `device` is the number under which the trace lists them.
  Trace take(std::string name, std::size_t device);

 private:
  struct Segment {
    std::size_t bytes = 0;
    std::uint64_t stream = 0;
    bool is_mapped = false;
  };
  struct Live {
    std::uint64_t bytes = 0, stream = 0;
  };
  /// Segments by address, adjacent mapped ranges joined, each with its live blocks in order.
  template <typename Visit>
  void for_each_segment(Visit&& visit) const;

  void keep(TraceAction action, std::uint64_t address, std::size_t bytes, std::uint64_t stream);
  std::uint64_t shown(const void* address) const;
  void unmap(std::uintptr_t begin, std::size_t bytes);

  Device& device_;
  const bool keeps_events_;
  std::vector<TraceEvent> events_;
  std::map<std::uintptr_t, Segment> segments_;
  AddressTable<Live> live_;
  std::array<std::size_t, site_count> calls_{};
  std::size_t index_ = 0;
  bool refusal_is_kept_ = false;
  TraceEvent cause_{};
  std::size_t live_bytes_ = 0, peak_live_bytes_ = 0;
  std::size_t peak_reserved_bytes_ = 0, peak_event_ = 0;
};

}  // namespace drought
