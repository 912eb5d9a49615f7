// One allocator beside a model, driven by operations that a loop or rapidcheck draws: blocks come and go
// on several streams while work is queued and retires, driver calls are refused, a peer takes memory and
// leaves, and wrong frees are tried. What an allocator promises is asked by its interfaces alone.
//
// The machine reads the device through a gate that only counts and strikes, and lends to the allocator
// through a lender that knows each range it has lent, so that an operation costs little more than the
// allocator does.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/memory/interfaces.hpp"
#include "harness/scenario/catalogues.hpp"
#include "tests/lender.hpp"
#include "tests/operation.hpp"
#include "tests/strike_gate.hpp"

namespace drought {

/// What the machine holds an allocator to. Each has a broken allocator that breaks it and nothing else.
enum class Promise : std::uint8_t {
  no_overlap,      ///< No byte is lent twice, and none that was not borrowed.
  alignment,       ///< Or a refusal by name, above 256 bytes.
  accounting,      ///< What it says it reserves is what it borrowed; each range goes back once, as it came.
  contents,        ///< Nobody writes to a block but its tenant.
  stream_order,    ///< A block is not lent to another stream while work on it may run.
  merged,          ///< Of one borrowed range no two free blocks lie side by side.
  growth,          ///< What was just freed serves the same request again.
  refusal,         ///< Out of memory only when there is none, of its kind, and nothing is kept for it.
  recovery,        ///< Once nothing is refused any more it lends again.
  wrong_free,      ///< A free of what is not lent changes nothing.
  all_given_back,  ///< At its end.
};
inline constexpr int promise_count = static_cast<int>(Promise::all_given_back) + 1;
std::string_view name(Promise promise);

struct Broken {
  Promise promise{};
  std::string text;
};

class AllocatorMachine {
 public:
  /// `full`: blocks have bytes, and what the tenant wrote is read again.
  AllocatorMachine(const AllocatorEntry& entry, std::uint64_t seed, bool full);
  ~AllocatorMachine();

  void apply(const Operation& operation);
  /// Frees everything and ends the allocator. Nothing may follow.
  void finish();
  /// The first promise that was broken.
  const std::optional<Broken>& broken() const { return broken_; }
  /// The same in words, "promise: what"; empty while all are kept.
  std::string mistake() const;
  std::uint64_t operations() const { return operations_; }
  std::size_t live_blocks() const { return order_.size(); }
  /// How often something of note happened, so that a run can be seen to have been worth it:
  /// "out_of_memory", "device_error", "struck", "own_limit", "remade", "bounced", "waited_for",
  /// "fits_after_trim".
  std::uint64_t seen(std::string_view what) const;

 private:
  struct Live {
    Request request;
    std::size_t place = 0;  ///< In order_.
    std::uint8_t pattern = 0;
    std::uint8_t streams = 0;  ///< A bit for each stream it was used on.
  };
  /// Work that was queued on a stream when a block was freed that the stream used.
  struct Fence {
    std::uintptr_t begin = 0, end = 0;
    std::size_t stream = 0;
    Event event;
  };
  /// What an allocate() is compared with.
  struct Before {
    std::uint64_t struck = 0, refusals = 0;
    std::size_t held_bytes = 0;
  };

  void start();
  void stop();
  void take(const Operation& operation);
  void* ask(const Request& request);
  void admit(void* block, const Request& request);
  void refused(const Request& request, const Before& was);
  void refused_of_its_own_accord(const Request& request);
  void failed(const Before& was, const DeviceError& error);
  bool lends_now(const Request& request);
  void free(std::size_t place);
  void fence(std::uintptr_t begin, const Live& block);
  void check_order(std::uintptr_t begin, const Request& request);
  void check_contents(std::uintptr_t begin, const Live& block);
  void empty_out(const Operation& operation);
  void renew();
  void bounce(const Operation& operation);
  void use(const Operation& operation);
  void queue_work(std::size_t stream, std::size_t pieces);
  void settle();
  void arm(const Operation& operation);
  void heal(const Operation& operation);
  void squeeze(const Operation& operation);
  bool trim();
  void wrong_free(const Operation& operation);
  void look_at_give_backs();
  void look_at_accounts();
  void look_at_free_blocks();

  Request request_of(const Operation& operation) const;
  Before before() const { return {gate_.struck(), gate_.refusals(), held_bytes()}; }
  std::size_t held_bytes() const {
    return takes_upstream_ ? lender_.borrowed_bytes() : device_->held_bytes();
  }
  std::uint64_t borrowings() const { return gate_.made(Site::cudaMalloc) + gate_.made(Site::cuMemCreate); }
  std::size_t free_bytes();
  Event take_event();
  void breaks(Promise promise, std::string text);

  static constexpr std::size_t kStreams = 3, kLiveMax = 64;

  const AllocatorEntry entry_;
  const bool takes_upstream_;
  const bool full_;
  std::unique_ptr<Device> device_;
  StrikeGate gate_;
  Lender lender_;
  std::unique_ptr<Resource> allocator_;
  Trims* trims_ = nullptr;
  RecordsStreams* records_ = nullptr;
  Retries* retries_ = nullptr;
  ListsFreeBlocks* lists_ = nullptr;

  std::array<Stream, kStreams> streams_;
  std::array<bool, kStreams> is_busy_{};
  std::map<std::uintptr_t, Live> live_;
  std::vector<std::uintptr_t> order_;
  std::deque<Fence> fences_;
  std::vector<Event> idle_events_;
  std::size_t live_bytes_ = 0, lent_in_all_ = 0;
  std::uintptr_t last_freed_ = 0;
  Request last_freed_request_;
  std::uint64_t operations_ = 0;
  std::map<std::string_view, std::uint64_t> seen_;
  std::optional<Broken> broken_;
};

}  // namespace drought
