#include "scenarios/allocators/token_slots.hpp"

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <vector>

#include "allocators/kv_slots.hpp"
#include "harness/scenario/rig.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

using Slot = KvSlots::Slot;

struct Served {
  std::uint64_t id = 0;
  std::size_t tokens = 0;      ///< That are computed, or will be when it is admitted.
  std::size_t tokens_end = 0;  ///< It finishes at this length.
  std::vector<Slot> slots{};   ///< Of each token.
};

std::uint8_t row_of(std::uint64_t request, std::size_t token) {
  return static_cast<std::uint8_t>(Random(request).split(token)());
}

/// The requests of one run and what became of them.
class SlotServer {
 public:
  SlotServer(Rig& rig, const TokenSlots::Options& options)
      : rig_(rig),
        options_(options),
        cache_(rig.memory(), {.slots = options.slots,
                              .slot_bytes = options.slot_bytes,
                              .bug = options.bug == "frees_twice" ? "unchecked_free" : options.bug}) {
    Random random = rig.random(13);
    for (std::size_t id = 1; id <= options.requests; ++id) {
      const std::size_t prompt = 1 + random.below(options.prompt_tokens_max);
      waiting_.push_back({id, prompt, prompt + 1 + random.below(options.new_tokens_max)});
    }
  }

  void run() {
    while (!waiting_.empty() || !running_.empty()) {
      admit();
      decode();
      for (std::size_t i = running_.size(); i-- > 0;) {
        if (running_[i].tokens < running_[i].tokens_end) continue;
        verify(running_[i]);
        cache_.free(running_[i].slots);
        running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    const std::string wrong = cache_.broken_invariant();
    rig_.record().comparisons.push_back({"the books of the slots", wrong.empty(), wrong});
    rig_.record().output_digests.push_back(digest_);
    rig_.decide("pauses", pauses_);
  }

 private:
  void write(Slot slot, std::uint8_t row) {
    must(rig_.device().memset(cache_.address_of(slot), row, options_.slot_bytes), "cudaMemset");
  }

  void admit() {
    while (!waiting_.empty() && running_.size() < options_.running_max) {
      Served& first = waiting_.front();
      try {
        first.slots = cache_.slots(first.tokens);
      } catch (const OutOfMemory&) {
        if (running_.empty()) throw;  // No slot will ever be freed.
        return;
      }
      for (std::size_t i = 0; i < first.tokens; ++i) write(first.slots[i], row_of(first.id, i));
      running_.push_back(std::move(first));
      waiting_.pop_front();
    }
  }

  /// A token for every running request; the rows of the batch that are left over are padding.
  void decode() {
    const std::vector<Slot> fresh = slots_of_a_step();
    for (std::size_t i = 0; i < running_.size(); ++i) {
      running_[i].slots.push_back(fresh[i]);
      write(fresh[i], row_of(running_[i].id, running_[i].tokens++));
    }
    if (running_.size() < options_.running_max) write(cache_.hold_slot(), 0);
  }

  std::vector<Slot> slots_of_a_step() {
    for (;;) {
      try {
        return cache_.slots(running_.size());
      } catch (const OutOfMemory&) {
        if (running_.size() == 1) throw;
      }
      Served paused = std::move(running_.back());
      running_.pop_back();
      cache_.free(paused.slots);
      if (options_.bug == "frees_twice") cache_.free(paused.slots);
      paused.slots.clear();
      waiting_.push_front(std::move(paused));
      ++pauses_;
    }
  }

  /// Reads every row of the request back.
  void verify(const Served& request) {
    for (const Slot slot : request.slots) digest_ = Random(digest_ ^ slot)();
    if (!rig_.full()) return;
    std::vector<std::uint8_t> seen(options_.slot_bytes);
    std::string wrong;
    for (std::size_t i = 0; i < request.slots.size(); ++i) {
      must(rig_.device().memcpy(seen.data(), cache_.address_of(request.slots[i]), seen.size()), "cudaMemcpy");
      must(rig_.device().stream_synchronize({}), "cudaStreamSynchronize");
      const std::uint8_t row = row_of(request.id, i);
      if (std::all_of(seen.begin(), seen.end(), [&](std::uint8_t byte) { return byte == row; })) continue;
      if (wrong.empty())
        wrong = "request " + std::to_string(request.id) + " finds another's row in slot " +
                std::to_string(request.slots[i]) + ", its token " + std::to_string(i);
    }
    rig_.record().comparisons.push_back({"the tokens of a request", wrong.empty(), wrong});
  }

  Rig& rig_;
  const TokenSlots::Options& options_;
  KvSlots cache_;
  std::deque<Served> waiting_;
  std::vector<Served> running_;
  std::uint64_t digest_ = 0;
  std::size_t pauses_ = 0;
};

}  // namespace

TokenSlots::TokenSlots(Options options) : options_(std::move(options)) {
  for (const std::size_t count :
       {options_.requests, options_.running_max, options_.prompt_tokens_max, options_.new_tokens_max})
    if (count == 0) throw std::invalid_argument("counts must be above 0");
  if (options_.bug != "none" && options_.bug != "hold_issued" && options_.bug != "frees_twice")
    throw std::invalid_argument("unknown bug '" + options_.bug + "'; known: none, hold_issued, frees_twice");
}

void TokenSlots::run(Rig& rig) {
  SlotServer(rig, options_).run();
  rig.ledger().mark_teardown({"kv_slots.slab"});
}

}  // namespace drought
