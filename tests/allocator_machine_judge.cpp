// What the machine over an allocator compares each answer with.
#include <algorithm>

#include "harness/memory/bytes.hpp"
#include "tests/allocator_machine.hpp"
#include "tests/conformance.hpp"

namespace drought {
namespace {

constexpr std::size_t kFencesMax = 32;

std::string bytes_text(std::size_t bytes) { return std::to_string(bytes) + " B"; }

}  // namespace

std::string_view name(Promise promise) {
  constexpr std::string_view kNames[promise_count] = {
      "no_overlap", "alignment", "accounting", "contents",   "stream_order",  "merged",
      "growth",     "refusal",   "recovery",   "wrong_free", "all_given_back"};
  return kNames[static_cast<std::size_t>(promise)];
}

void AllocatorMachine::breaks(Promise promise, std::string text) {
  if (broken_) return;
  broken_ = Broken{promise, std::string(entry_.name) + " " + std::move(text)};
}

std::string AllocatorMachine::mistake() const {
  return broken_ ? std::string(name(broken_->promise)) + ": " + broken_->text : "";
}

std::uint64_t AllocatorMachine::seen(std::string_view what) const {
  if (what == "struck") return gate_.struck();
  const auto found = seen_.find(what);
  return found == seen_.end() ? 0 : found->second;
}

void* AllocatorMachine::ask(const Request& request) {
  const Before was = before();
  try {
    void* const block = allocator_->allocate(request);
    look_at_give_backs();
    if (!block) breaks(Promise::no_overlap, "lent a null block");
    return block;
  } catch (const OutOfMemory&) {
    refused(request, was);
  } catch (const DeviceError& error) {
    failed(was, error);
  } catch (const std::invalid_argument& error) {
    // 256 bytes is what cudaMalloc promises; above, an allocator may say that it cannot.
    if (request.alignment <= 256) breaks(Promise::alignment, error.what());
  } catch (const std::exception& error) {
    breaks(Promise::refusal, std::string("failed as neither OutOfMemory nor DeviceError: ") + error.what());
  }
  return nullptr;
}

void AllocatorMachine::admit(void* block, const Request& request) {
  const auto begin = reinterpret_cast<std::uintptr_t>(block);
  const std::uintptr_t end = begin + request.bytes;
  if (begin % request.alignment != 0)
    return breaks(Promise::alignment, "lent a block not aligned to " + std::to_string(request.alignment));
  const auto next = live_.lower_bound(begin);
  if ((next != live_.end() && next->first < end) ||
      (next != live_.begin() && std::prev(next)->first + std::prev(next)->second.request.bytes > begin))
    return breaks(Promise::no_overlap, "lent " + bytes_text(request.bytes) + " over a live block");
  if (takes_upstream_ && lender_.range_of(begin, request.bytes) == 0)
    return breaks(Promise::no_overlap, "lent " + bytes_text(request.bytes) + " that it had not borrowed");
  if (records_) check_order(begin, request);
  const auto stream = static_cast<std::size_t>(std::find(streams_.begin(), streams_.end(), request.stream) -
                                               streams_.begin());
  Live lent{request, order_.size(), static_cast<std::uint8_t>(operations_ * 31 + 7),
            static_cast<std::uint8_t>(1u << stream)};
  if (full_) {
    const StrikeGate::Quiet quiet(gate_);
    if (device_->memset(block, lent.pattern, request.bytes, request.stream) != Status::success)
      return breaks(Promise::contents, "lent a block that cannot be written");
    is_busy_[stream] = true;
  }
  live_.emplace_hint(next, begin, lent);
  order_.push_back(begin);
  live_bytes_ += request.bytes;
  lent_in_all_ += request.bytes;
}

void AllocatorMachine::check_contents(std::uintptr_t begin, const Live& block) {
  const StrikeGate::Quiet quiet(gate_);
  const std::size_t last = block.request.bytes - 1;
  for (const std::size_t offset : {std::size_t{0}, last / 2, last}) {
    std::uint8_t seen = 0;
    const void* const from = reinterpret_cast<const void*>(begin + offset);
    if (device_->memcpy(&seen, from, 1, block.request.stream) != Status::success ||
        device_->stream_synchronize(block.request.stream) != Status::success)
      return breaks(Promise::contents, "lent a block that cannot be read when it is freed");
    if (seen != block.pattern)
      return breaks(Promise::contents, "let byte " + std::to_string(offset) + " of a block of " +
                                           bytes_text(block.request.bytes) + " change");
  }
}

void AllocatorMachine::fence(std::uintptr_t begin, const Live& block) {
  if (!records_) return;
  const StrikeGate::Quiet quiet(gate_);
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    if (!is_busy_[stream] || (block.streams >> stream & 1) == 0) continue;
    const Event event = take_event();
    (void)device_->event_record(event, streams_[stream]);
    fences_.push_back({begin, begin + block.request.bytes, stream, event});
  }
  for (; fences_.size() > kFencesMax; fences_.pop_front()) idle_events_.push_back(fences_.front().event);
}

void AllocatorMachine::check_order(std::uintptr_t begin, const Request& request) {
  const StrikeGate::Quiet quiet(gate_);
  for (const Fence& fence : fences_) {
    if (fence.begin >= begin + request.bytes || begin >= fence.end) continue;
    if (streams_[fence.stream] == request.stream) continue;
    if (device_->event_query(fence.event) != Status::not_ready) continue;
    // Still running. That is no harm when the new owner's stream waits for it.
    const Event own = take_event();
    (void)device_->event_record(own, request.stream);
    (void)device_->event_synchronize(own);
    idle_events_.push_back(own);
    if (device_->event_query(fence.event) == Status::not_ready)
      return breaks(Promise::stream_order,
                    "lent " + bytes_text(request.bytes) + " to stream " + std::to_string(request.stream.id) +
                        " while stream " + std::to_string(streams_[fence.stream].id) + " may still use them");
    ++seen_["waited_for"];
  }
}

void AllocatorMachine::refused(const Request& request, const Before& was) {
  ++seen_["out_of_memory"];
  look_at_give_backs();
  if (held_bytes() > was.held_bytes)
    return breaks(Promise::refusal, "kept " + bytes_text(held_bytes() - was.held_bytes) +
                                        " that it borrowed for a request it refused");
  if (gate_.struck() != was.struck) return;
  const std::uint64_t tries = gate_.refusals() - was.refusals;
  if (tries == 0) return refused_of_its_own_accord(request);
  if (retries_ && tries > retries_->attempts_max())
    return breaks(Promise::refusal, "asked " + std::to_string(tries) + " times and promises at most " +
                                        std::to_string(retries_->attempts_max()));
  if (!trims_) return;
  const std::size_t wanted = round_up(gate_.refused_bytes(), device_->profile().granularity_bytes);
  if (!trim()) return;
  if (retries_ && retries_->attempts_max() > 1 && free_bytes() >= wanted)
    return breaks(Promise::refusal, "gave up on " + bytes_text(request.bytes) +
                                        " while what it kept idle would have made room");
  settle();
  if (!trim() || free_bytes() < wanted) return;
  ++seen_["fits_after_trim"];
  if (!lends_now(request))
    breaks(Promise::refusal, "refused " + bytes_text(request.bytes) + " after a trim that had made room");
}

// A limit of the allocator's own: a slab that is used up, a range of addresses.
void AllocatorMachine::refused_of_its_own_accord(const Request& request) {
  ++seen_["own_limit"];
  if (lent_in_all_ + request.bytes <= kLentAtLeast)
    return breaks(Promise::refusal, "refused " + bytes_text(request.bytes) + " after lending only " +
                                        bytes_text(lent_in_all_) + " in all");
  if (trims_)
    return breaks(Promise::refusal, "refused " + bytes_text(request.bytes) + " with " +
                                        bytes_text(live_bytes_) + " live, and had not asked for more");
  while (!order_.empty() && !broken_) free(order_.size() - 1);
  settle();
  if (broken_ || lends_now(request)) return;
  // One that reclaims nothing until it ends.
  ++seen_["remade"];
  renew();
}

void AllocatorMachine::failed(const Before& was, const DeviceError& error) {
  ++seen_["device_error"];
  look_at_give_backs();
  if (gate_.struck() == was.struck)
    return breaks(Promise::refusal, std::string("failed though no call was refused: ") + error.what());
  const auto documented = documented_errors(gate_.struck_site());
  if (std::find(documented.begin(), documented.end(), Status::memory_allocation) != documented.end())
    return breaks(Promise::refusal, std::string("a lack of memory came as another error: ") + error.what());
  if (held_bytes() > was.held_bytes)
    breaks(Promise::refusal, "kept " + bytes_text(held_bytes() - was.held_bytes) +
                                 " that it borrowed for a request it refused");
  const StrikeGate::Quiet quiet(gate_);
  (void)device_->take_last_error();
}

// Whether the request is met now, or a struck call is to blame that it is not.
bool AllocatorMachine::lends_now(const Request& request) {
  const std::uint64_t struck = gate_.struck();
  try {
    void* const block = allocator_->allocate(request);
    look_at_give_backs();
    admit(block, request);
    return true;
  } catch (const OutOfMemory&) {
  } catch (const DeviceError&) {
  }
  return gate_.struck() != struck;
}

void AllocatorMachine::heal(const Operation& operation) {
  gate_.disarm();
  {
    const StrikeGate::Quiet quiet(gate_);
    (void)device_->set_peer("peer", 0);
    (void)device_->take_last_error();
  }
  const Request request = request_of(operation);
  if (order_.size() == kLiveMax || live_bytes_ + request.bytes > kLentAtLeast / 2) return;
  const Before was = before();
  try {
    void* const block = allocator_->allocate(request);
    look_at_give_backs();
    admit(block, request);
  } catch (const OutOfMemory& error) {
    if (gate_.refusals() == was.refusals) return refused_of_its_own_accord(request);
    breaks(Promise::recovery, std::string("after healing: ") + error.what());
  } catch (const std::invalid_argument&) {
    if (request.alignment <= 256) throw;
  } catch (const std::exception& error) {
    breaks(Promise::recovery, std::string("after healing: ") + error.what());
  }
}

// False when a struck call ended it.
bool AllocatorMachine::trim() {
  const std::size_t held = held_bytes();
  try {
    const std::size_t given_back = trims_->trim();
    look_at_give_backs();
    if (given_back != held - held_bytes())
      breaks(Promise::accounting, "said that it gave " + bytes_text(given_back) + " back, and gave " +
                                      bytes_text(held - held_bytes()));
  } catch (const DeviceError&) {
    return false;
  }
  return !broken_;
}

void AllocatorMachine::look_at_give_backs() {
  if (lender_.has_mistake()) breaks(Promise::accounting, lender_.take_mistake());
  if (!lender_.gave_anything_back()) return;
  for (const auto& [begin, bytes] : lender_.take_given_back()) {
    const auto inside = live_.lower_bound(begin);
    if (inside != live_.end() && inside->first < begin + bytes)
      breaks(Promise::accounting, "gave back memory in which a block still lives");
  }
}

void AllocatorMachine::look_at_accounts() {
  if (trims_ && trims_->reserved_bytes() != held_bytes())
    breaks(Promise::accounting, "says that it reserves " + bytes_text(trims_->reserved_bytes()) +
                                    ", and has borrowed " + bytes_text(held_bytes()));
}

void AllocatorMachine::look_at_free_blocks() {
  std::vector<ListsFreeBlocks::FreeBlock> blocks = lists_->free_blocks();
  std::sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
  std::uintptr_t end_before = 0, range_before = 0;
  std::uint64_t stream_before = 0;
  for (const auto& [address, bytes, stream] : blocks) {
    const std::uintptr_t range = takes_upstream_ ? lender_.range_of(address, bytes) : 1;
    const auto next = live_.lower_bound(address);
    if (range == 0) return breaks(Promise::accounting, "lists a free block that it has not borrowed");
    if (address < end_before || (next != live_.end() && next->first < address + bytes) ||
        (next != live_.begin() && std::prev(next)->first + std::prev(next)->second.request.bytes > address))
      return breaks(Promise::no_overlap, "lists a free block over another or over a live one");
    if (address == end_before && range == range_before && stream == stream_before)
      return breaks(Promise::merged, "keeps two free blocks side by side");
    end_before = address + bytes, range_before = range, stream_before = stream;
  }
}

}  // namespace drought
