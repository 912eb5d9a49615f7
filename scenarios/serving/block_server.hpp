// The server of shared_blocks: slots, a budget, and who waits for room in it. It lives as long as a run, and
// gives back what is left. Each place at which a mistake can be switched on says which.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "scenarios/device_calls.hpp"
#include "scenarios/serving/shared_blocks.hpp"

namespace drought {

class BlockServer {
 public:
  BlockServer(Rig& rig, std::size_t processes, std::size_t budget_bytes, SharedBlocks::Bug bug)
      : rig_(rig),
        bug_(bug),
        budget_bytes_(budget_bytes),
        streams_(rig.device(), processes),
        waiting_(processes) {}
  /// An error is being thrown already, or finish() has waited.
  ~BlockServer() {
    const ExceptionsHeld held(rig_.scheduler());
    if (!finished_ && !rig_.scheduler().hung()) (void)rig_.device().synchronize();
    for (Slot& slot : slots_)
      if (slot.data) give_back(slot);
  }
  BlockServer(const BlockServer&) = delete;

  /// Waits for what is queued.
  void finish() {
    must(rig_.device().synchronize(), "cudaDeviceSynchronize");
    finished_ = true;
  }

  void run(std::size_t process, const std::vector<SharedBlocks::Step>& steps) {
    ++active_;
    struct Leaves {
      BlockServer& server;
      ~Leaves() {
        --server.active_;
        server.wake();
      }
    } const leaves{*this};
    std::vector<std::size_t> pinned;
    for (const SharedBlocks::Step& step : steps) {
      Slot& slot = slots_[step.slot];
      if (step.verb == SharedBlocks::Step::Verb::take) {
        if (!slot.data && !slot.taken) take(process, slot, step.number << 20);
      } else if (!slot.data || (slot.broken && step.verb != SharedBlocks::Step::Verb::drop)) {
        continue;
      } else if (step.verb == SharedBlocks::Step::Verb::fill) {
        fill(process, slot, static_cast<std::uint8_t>(step.number));
      } else if (step.verb == SharedBlocks::Step::Verb::read) {
        read(process, slot);
      } else if (step.verb == SharedBlocks::Step::Verb::pin) {
        ++slot.references;
        pinned.push_back(step.slot);
      } else if (slot.listed) {
        slot.listed = false;
        drop(slot);
      }
    }
    for (const std::size_t slot : pinned) drop(slots_[slot]);
  }

 private:
  struct Slot {
    void* data = nullptr;
    std::size_t bytes = 0;
    int references = 0;                ///< The slot's own, each pin's and each user's.
    bool listed = false;               ///< The slot's own was not dropped yet.
    bool taken = false;                ///< Somebody allocates for it.
    std::size_t users = 0;             ///< Queued work is being added to it.
    Event last{};                      ///< After the last use; its id is 0 when there was none.
    std::size_t uses = 0, waited = 0;  ///< Queued so far, and how many of them were waited for.
    std::uint8_t value = 0;
    bool filled = false;
    bool broken = false;  ///< Nobody can tell when its queued work is over: it is only freed.
  };

  /// One process at a time asks the allocator: none of them is made for more.
  class Turn {
   public:
    explicit Turn(BlockServer& server) : server_(server) {
      server.rig_.scheduler().wait_until("the allocator", [&server] { return !server.allocating_; });
      server.allocating_ = true;
    }
    ~Turn() { server_.allocating_ = false; }
    Turn(const Turn&) = delete;

   private:
    BlockServer& server_;
  };

  bool has_room(std::size_t bytes) const {
    return bytes <= budget_bytes_ && charged_ <= budget_bytes_ - bytes;
  }

  void wake() {
    for (std::size_t i = 0; i < waiting_.size(); ++i) waiting_[i] = false;
  }

  /// Until there is room or nobody will make any. false: the latter.
  bool wait_for_room(std::size_t process, std::size_t bytes) {
    while (!has_room(bytes)) {
      // Nobody but waiters is left: nothing will ever be given back.
      if (waiters_ + 1 == active_) {
        wake();
        return false;
      }
      if (bug_ == SharedBlocks::Bug::lost_wake_up) {
        MemInfo info;
        must(rig_.device().mem_info(info), "cudaMemGetInfo");  // Logged, say; a switch happens here.
      }
      struct Waiter {
        std::size_t& count;
        explicit Waiter(std::size_t& waiters) : count(waiters) { ++count; }
        ~Waiter() { --count; }
      } const waiter(waiters_);
      waiting_[process] = true;
      rig_.scheduler().wait_until("room in the budget", [&] { return !waiting_[process]; });
    }
    return true;
  }

  void take(std::size_t process, Slot& slot, std::size_t bytes) {
    if (bytes == 0) return;
    slot.taken = true;
    struct Over {
      Slot& slot;
      ~Over() { slot.taken = false; }
    } const over{slot};
    if (!wait_for_room(process, bytes)) return;
    if (bug_ != SharedBlocks::Bug::check_then_act) charged_ += bytes;
    void* data = nullptr;
    try {
      const Turn turn(*this);
      data = rig_.memory().allocate({.bytes = bytes, .tag = "shared"});
    } catch (...) {
      if (bug_ != SharedBlocks::Bug::check_then_act) charged_ -= bytes;
      wake();
      throw;
    }
    if (bug_ == SharedBlocks::Bug::check_then_act) charged_ += bytes;
    if (charged_ > budget_bytes_)
      rig_.record().violate("accounting", "the budget of " + std::to_string(budget_bytes_) +
                                              " B is charged with " + std::to_string(charged_));
    slot = {.data = data, .bytes = bytes, .references = 1, .listed = true, .taken = true};
  }

  /// The slot's next work on this stream comes after its last. The reference keeps it while calls are made.
  template <typename Work>
  void use(std::size_t process, Slot& slot, bool waits, const Work& work) {
    Device& device = rig_.device();
    const Stream stream = streams_[process];
    if (bug_ != SharedBlocks::Bug::drops_in_use) ++slot.references;
    void* const data = slot.data;
    try {
      // One after the other: an event marks one place in one stream.
      rig_.scheduler().wait_until("the slot's user", [&] { return slot.users == 0; });
      if (slot.broken) throw DeviceError(Status::not_ready, "a slot that another process has broken");
      ++slot.users;
      struct Over {
        Slot& slot;
        ~Over() { --slot.users; }
      } const over{slot};
      try {
        if (slot.last.id == 0) must(device.event_create(slot.last), "cudaEventCreate");
        if (waits) must(device.stream_wait_event(stream, slot.last), "cudaStreamWaitEvent");
        work(data, stream);
        ++slot.uses;
        must(device.event_record(slot.last, stream), "cudaEventRecord");
      } catch (...) {
        // What is queued has no event that others could wait for, so it is waited for here; a process may be
        // killed while it does.
        slot.broken = true;
        slot.broken = device.stream_synchronize(stream) != Status::success;
        throw;
      }
    } catch (...) {
      if (bug_ != SharedBlocks::Bug::drops_in_use) drop(slot);
      throw;
    }
    if (bug_ != SharedBlocks::Bug::drops_in_use) drop(slot);
  }

  void fill(std::size_t process, Slot& slot, std::uint8_t value) {
    use(process, slot, true, [&](void* data, Stream stream) {
      slot.filled = false;  // Whatever a failing call leaves behind is nobody's.
      must(rig_.device().memset(data, value, slot.bytes, stream), "cudaMemset");
      slot.value = value;
      slot.filled = true;
    });
  }

  void read(std::size_t process, Slot& slot) {
    use(process, slot, bug_ != SharedBlocks::Bug::stale_read, [&](void* data, Stream stream) {
      if (!slot.filled) return;
      std::uint8_t seen = 0;
      must(rig_.device().memcpy(&seen, data, 1, stream), "cudaMemcpy");
      const std::uint8_t wanted = slot.value;
      must(rig_.device().stream_synchronize(stream), "cudaStreamSynchronize");
      if (rig_.full())
        rig_.record().comparisons.push_back(
            {"a shared block", seen == wanted,
             "filled with " + std::to_string(wanted) + ", read " + std::to_string(seen)});
    });
  }

  void drop(Slot& slot) {
    if (bug_ == SharedBlocks::Bug::double_free) {
      const int left = slot.references - 1;
      MemInfo info;
      must(rig_.device().mem_info(info), "cudaMemGetInfo");
      slot.references = left;
      if (left != 0) return;
      const Turn turn(*this);
      return give_back(slot);
    }
    if (slot.references > 1) {
      --slot.references;
      return;
    }
    const Turn turn(*this);
    // Whoever lets go last waits for what is queued; more may come while it does.
    while (slot.references == 1 && slot.waited != slot.uses) {
      const std::size_t seen = slot.uses;
      must(rig_.device().event_synchronize(slot.last), "cudaEventSynchronize");
      slot.waited = seen;
    }
    if (--slot.references == 0) give_back(slot);
  }

  /// Its last use is over.
  void give_back(Slot& slot) noexcept {
    Slot gone = slot;
    slot = {};
    if (gone.last.id != 0) (void)rig_.device().event_destroy(gone.last);
    rig_.memory().deallocate(gone.data, {.bytes = gone.bytes, .tag = "shared"});
    charged_ -= gone.bytes;
    wake();
  }

  Rig& rig_;
  const SharedBlocks::Bug bug_;
  const std::size_t budget_bytes_;
  const Streams streams_;
  std::array<Slot, SharedBlocks::kSlots> slots_{};
  std::size_t charged_ = 0, active_ = 0, waiters_ = 0;
  std::vector<char> waiting_;
  bool allocating_ = false, finished_ = false;
};

}  // namespace drought
