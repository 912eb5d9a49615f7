// Two clients share a few pages and wait in one queue for them; the second also waits for what the first
// computes once for both. Whoever fails while another waits has to leave the queue, the pages and the promise
// as if it had never come.
#pragma once

#include <algorithm>
#include <array>
#include <deque>

#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class QueuedServer final : public Workload {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"pages_lost_on_refusal", "keeps the pages of a request that failed", "hung"},
      {"ticket_left_in_queue", "stays first in the queue after it has failed", "hung"},
      {"not_woken_when_free_fails", "frees, is told of an error, and wakes nobody", "hung"},
      {"lock_kept_on_error", "keeps the lock when the fill under it fails", "hung"},
      {"promise_not_broken", "fails without telling who waits for its result", "hung"},
      {"waits_and_retries_for_ever", "queues up again after every refusal", "hung"},
      {"answer_of_before", "answers a failed request with the last answer", "swallowed"},
      {"error_lost_between_processes", "ends well though a client has failed", "swallowed"},
  };
  explicit QueuedServer(Options options) : planted_(std::move(options)) {}

  void run(Rig& rig) override {
    pages_ = kPages;
    rig.scheduler().run_beside("client", kClients, [&](int client) {
      try {
        serve(rig, client);
      } catch (const std::bad_alloc&) {
        if (!planted_("error_lost_between_processes")) throw;
      } catch (const DeviceError&) {
        if (!planted_("error_lost_between_processes")) throw;
      }
    });
    for (const std::uint64_t answer : answers_) rig.record().output_digests.push_back(answer);
    rig.ledger().mark_teardown({"request"});
  }

 private:
  static constexpr int kClients = 2, kRounds = 3;
  static constexpr std::size_t kPages = 3, kPagesEach = 2, kPageBytes = 64 << 10;
  enum class Promise : unsigned char { open, kept, broken };

  template <typename Undo>
  class Finally {
   public:
    explicit Finally(Undo undo) : undo_(std::move(undo)) {}
    ~Finally() { undo_(); }
    Finally(const Finally&) = delete;

   private:
    Undo undo_;
  };

  void serve(Rig& rig, int client) {
    if (client == 0) {
      make_prefix(rig);
    } else {
      rig.scheduler().wait_until("the prefix", [&] { return prefix_ != Promise::open; });
      if (prefix_ == Promise::broken) return;  // Whoever broke it says why.
    }
    for (int round = 0; round < kRounds; ++round) {
      bool served = false;
      while (!served) served = request(rig, client, round);
    }
  }

  void make_prefix(Rig& rig) {
    try {
      const Buffer scratch(rig.memory(), {.bytes = kPageBytes, .tag = "prefix"});
      must(rig.device().memset(scratch.data(), 1, kPageBytes), "cudaMemset");
    } catch (...) {
      if (!planted_("promise_not_broken")) prefix_ = Promise::broken;
      throw;
    }
    prefix_ = Promise::kept;
  }

  /// Whether the request was served; false asks for another try.
  bool request(Rig& rig, int client, int round) {
    const int ticket = next_ticket_++;
    queue_.push_back(ticket);
    if (queue_.size() == 1) turn_ = ticket;
    bool unwinding = true;
    const Finally leave([&] {
      if (!(unwinding && planted_("ticket_left_in_queue"))) std::erase(queue_, ticket);
      const bool wakes = !(unwinding && free_failed_ && planted_("not_woken_when_free_fails"));
      if (wakes && !queue_.empty()) turn_ = queue_.front();
    });
    rig.scheduler().wait_until("its turn", [&] { return turn_ == ticket; });
    rig.scheduler().wait_until("pages", [&] { return pages_ >= kPagesEach; });
    pages_ -= kPagesEach;
    const Finally give_back([&] {
      if (!(unwinding && planted_("pages_lost_on_refusal"))) pages_ += kPagesEach;
    });
    try {
      answers_[static_cast<std::size_t>(client)] = compute(rig, client, round);
    } catch (const OutOfMemory&) {
      if (planted_("waits_and_retries_for_ever")) return false;
      if (!planted_("answer_of_before")) throw;
    }
    unwinding = false;
    return true;
  }

  std::uint64_t compute(Rig& rig, int client, int round) {
    const Request wanted{.bytes = kPagesEach * kPageBytes, .tag = "request"};
    void* const block = rig.memory().allocate(wanted);
    const Finally give_back([&] { rig.memory().deallocate(block, wanted); });
    rig.scheduler().wait_until("the lock", [&] { return !locked_; });
    locked_ = true;
    bool unwinding = true;
    const Finally unlock([&] { locked_ = unwinding && planted_("lock_kept_on_error"); });
    must(rig.device().memset(block, static_cast<std::uint8_t>(round), wanted.bytes), "cudaMemset");
    void* scratch = nullptr;
    const Status lent = rig.device().malloc(scratch, kPageBytes, "scratch");
    if (lent == Status::memory_allocation) throw OutOfMemory(wanted, "scratch");
    must(lent, "cudaMalloc");
    // A free that reports an error has freed, and is no reason to fail.
    const Status freed = rig.device().free(scratch, "scratch");
    free_failed_ = freed != Status::success;
    if (free_failed_ && planted_("not_woken_when_free_fails")) throw DeviceError(freed, "cudaFree");
    unwinding = false;
    return static_cast<std::uint64_t>(10 * client + round);
  }

  const Planted planted_;
  std::size_t pages_ = kPages;
  std::deque<int> queue_;
  int next_ticket_ = 0, turn_ = 0;
  bool locked_ = false, free_failed_ = false;
  Promise prefix_ = Promise::open;
  std::array<std::uint64_t, kClients> answers_{};
};

}  // namespace drought
