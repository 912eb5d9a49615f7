#include "tests/allocator_machine.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "harness/memory/bytes.hpp"
#include "tests/conformance.hpp"

namespace drought {
namespace {

constexpr std::size_t kLiveBytesMax = kLentAtLeast / 2;

std::vector<Site> strikable_sites() {
  std::vector<Site> sites;
  for (int i = 0; i < site_count; ++i)
    if (!documented_errors(static_cast<Site>(i)).empty()) sites.push_back(static_cast<Site>(i));
  return sites;
}

Status error_at(Site site) {
  const auto errors = documented_errors(site);
  const bool no_memory = std::find(errors.begin(), errors.end(), Status::memory_allocation) != errors.end();
  return no_memory ? Status::memory_allocation : errors.front();
}

}  // namespace

AllocatorMachine::AllocatorMachine(const AllocatorEntry& entry, std::uint64_t seed, bool full)
    : entry_(entry),
      takes_upstream_(entry.takes_upstream),
      full_(full),
      device_(make_host_device(profile_named("h100-80g"),
                               {.work = full ? Device::Work::full : Device::Work::shapes, .seed = seed})),
      gate_(*device_),
      lender_(*device_) {
  const StrikeGate::Quiet quiet(gate_);
  for (Stream& stream : streams_)
    if (device_->stream_create(stream) != Status::success) throw std::runtime_error("no stream");
  // The default stream too: it waits for the others, and they for it.
  (void)device_->stream_destroy(streams_[0]);
  streams_[0] = {};
  start();
}

AllocatorMachine::~AllocatorMachine() { allocator_.reset(); }

void AllocatorMachine::start() {
  allocator_ = make_allocator(entry_, takes_upstream_ ? &lender_ : nullptr, *device_);
  trims_ = dynamic_cast<Trims*>(allocator_.get());
  records_ = dynamic_cast<RecordsStreams*>(allocator_.get());
  retries_ = dynamic_cast<Retries*>(allocator_.get());
  lists_ = dynamic_cast<ListsFreeBlocks*>(allocator_.get());
  lent_in_all_ = 0;
  last_freed_ = 0;
}

void AllocatorMachine::stop() {
  gate_.disarm();
  settle();
  while (!order_.empty() && !broken_) free(order_.size() - 1);
  if (broken_) return;
  allocator_.reset();
  look_at_give_backs();
  if (lender_.borrowed_bytes() != 0)
    breaks(Promise::all_given_back, "ended and kept " + std::to_string(lender_.borrowed_bytes()) + " B");
  else if (device_->held_bytes() != 0)
    breaks(Promise::all_given_back, "the device still lends " + std::to_string(device_->held_bytes()) + " B");
}

void AllocatorMachine::finish() {
  if (!broken_) stop();
}

void AllocatorMachine::apply(const Operation& operation) {
  if (broken_) return;
  ++operations_;
  using enum Operation::Kind;
  switch (operation.kind) {
    case allocate:
      take(operation);
      break;
    case free:
      if (!order_.empty()) this->free(operation.which % order_.size());
      break;
    case bounce:
      this->bounce(operation);
      break;
    case use:
      this->use(operation);
      break;
    case work:
      queue_work(operation.which % kStreams, 1 + operation.size % 8);
      break;
    case settle:
      this->settle();
      break;
    case arm:
      this->arm(operation);
      break;
    case heal:
      this->heal(operation);
      break;
    case squeeze:
      this->squeeze(operation);
      break;
    case trim:
      this->empty_out(operation);
      break;
    case wrong_free:
      this->wrong_free(operation);
      break;
  }
  if (broken_) return;
  if (full_ || operations_ % 64 == 0) look_at_accounts();
  if (lists_ && (full_ || operations_ % 1024 == 0)) look_at_free_blocks();
}

Request AllocatorMachine::request_of(const Operation& operation) const {
  const std::size_t power = std::size_t{1} << (operation.size & 31) % 22;
  const std::size_t alignment = (operation.which >> 8) % 64 == 63 ? 512u << (operation.which >> 14) % 4 : 256;
  return {.bytes = power + (operation.size >> 5) % power,
          .alignment = alignment,
          .stream = streams_[operation.which % kStreams]};
}

void AllocatorMachine::take(const Operation& operation) {
  const Request request = request_of(operation);
  if (order_.size() == kLiveMax || live_bytes_ + request.bytes > kLiveBytesMax)
    return free(operation.which % order_.size());
  if (void* const block = ask(request)) admit(block, request);
}

void AllocatorMachine::free(std::size_t place) {
  const std::uintptr_t begin = order_[place];
  const auto found = live_.find(begin);
  const Live block = found->second;
  if (full_) check_contents(begin, block);
  fence(begin, block);
  order_[place] = order_.back();
  live_.find(order_.back())->second.place = place;
  order_.pop_back();
  live_.erase(found);
  live_bytes_ -= block.request.bytes;
  last_freed_ = begin;
  last_freed_request_ = block.request;
  allocator_->deallocate(reinterpret_cast<void*>(begin), block.request);
  look_at_give_backs();
}

void AllocatorMachine::empty_out(const Operation& operation) {
  while (operation.size % 2 != 0 && !order_.empty() && !broken_) free(order_.size() - 1);
  if (trims_ && !broken_) (void)trim();
  if (operation.size % 8 == 7 && !broken_) renew();
}

// Ends the allocator and makes another, which may be refused what it borrows while it is made.
void AllocatorMachine::renew() {
  stop();
  if (broken_) return;
  {
    const StrikeGate::Quiet quiet(gate_);
    (void)device_->set_peer("peer", 0);
  }
  arm({.which = static_cast<std::uint32_t>(operations_)});
  try {
    return start();
  } catch (const OutOfMemory&) {
  } catch (const DeviceError&) {
  }
  if (held_bytes() != 0)
    breaks(Promise::refusal, "was never made, and holds " + std::to_string(held_bytes()));
  gate_.disarm();
  if (!broken_) start();
}

void AllocatorMachine::bounce(const Operation& operation) {
  if (order_.empty()) return;
  const std::size_t place = operation.which % order_.size();
  const Live block = live_.at(order_[place]);
  const std::uint64_t give_backs = lender_.give_backs() + gate_.made(Site::cudaFree);
  free(place);
  const bool is_kept = lender_.give_backs() + gate_.made(Site::cudaFree) == give_backs;
  const std::uint64_t borrowings = this->borrowings();
  if (broken_) return;
  void* const again = ask(block.request);
  if (!again) return;
  // A block used on another stream is not free before that use has completed.
  const bool is_free = std::find(streams_.begin(), streams_.end(), block.request.stream) - streams_.begin() ==
                       std::countr_zero(block.streams);
  if (trims_ && is_kept && is_free && std::has_single_bit(block.streams)) {
    ++seen_["bounced"];
    if (this->borrowings() != borrowings)
      breaks(Promise::growth, "borrowed more for " + std::to_string(block.request.bytes) +
                                  " B, though as much had just been freed");
  }
  admit(again, block.request);
}

void AllocatorMachine::use(const Operation& operation) {
  const std::size_t stream = operation.size % kStreams;
  if (!order_.empty() && records_) {
    const std::uintptr_t begin = order_[operation.which % order_.size()];
    live_.at(begin).streams |= static_cast<std::uint8_t>(1u << stream);
    records_->record_stream(reinterpret_cast<void*>(begin), streams_[stream]);
  }
  queue_work(stream, 1 + operation.size / kStreams % 8);
}

void AllocatorMachine::queue_work(std::size_t stream, std::size_t pieces) {
  const StrikeGate::Quiet quiet(gate_);
  const Event event = take_event();
  for (; pieces > 0; --pieces) (void)device_->event_record(event, streams_[stream]);
  idle_events_.push_back(event);
  is_busy_[stream] = true;
}

void AllocatorMachine::settle() {
  const StrikeGate::Quiet quiet(gate_);
  (void)device_->synchronize();
  is_busy_.fill(false);
  for (const Fence& fence : fences_) idle_events_.push_back(fence.event);
  fences_.clear();
}

Event AllocatorMachine::take_event() {
  Event event;
  if (idle_events_.empty()) {
    (void)device_->event_create(event);
  } else {
    event = idle_events_.back();
    idle_events_.pop_back();
  }
  return event;
}

void AllocatorMachine::arm(const Operation& operation) {
  static const std::vector<Site> kSites = strikable_sites();
  for (std::size_t i = 0; i < kSites.size(); ++i) {
    const Site site = kSites[(operation.which + i) % kSites.size()];
    if (gate_.made(site) == 0) continue;
    gate_.arm(site, error_at(site), operation.size % 8, operation.size / 8 % 2 != 0);
    return;
  }
}

void AllocatorMachine::squeeze(const Operation& operation) {
  const StrikeGate::Quiet quiet(gate_);
  (void)device_->set_peer("peer", 0);
  const std::size_t room_bytes = operation.size % 64 * 1_MiB;
  const std::size_t others = device_->profile().peer_context_bytes + room_bytes;
  if (free_bytes() > others) (void)device_->set_peer("peer", free_bytes() - others);
}

std::size_t AllocatorMachine::free_bytes() {
  const StrikeGate::Quiet quiet(gate_);
  MemInfo info;
  (void)device_->mem_info(info);
  return info.free_bytes;
}

void AllocatorMachine::wrong_free(const Operation& operation) {
  static int foreign;
  Request request{.bytes = 256};
  void* wrong = &foreign;
  const bool again = operation.which % 3 == 2 && last_freed_ != 0 && !live_.contains(last_freed_);
  if (again) {
    request = last_freed_request_;
    wrong = reinterpret_cast<void*>(last_freed_);
  } else if (operation.which % 3 == 1 && !order_.empty()) {
    const std::uintptr_t begin = order_[operation.size % order_.size()];
    request = live_.at(begin).request;
    wrong = reinterpret_cast<void*>(begin + 1);
  }
  const std::size_t held = held_bytes();
  allocator_->deallocate(wrong, request);
  // Who passes a wrong free on to a resource that refuses it has done no harm.
  (void)lender_.take_mistake();
  look_at_give_backs();
  if (held_bytes() != held) breaks(Promise::wrong_free, "gave memory back for a wrong free");
  int lent = again ? -1 : 0;  // What was freed twice may be lent once.
  for (int i = 0; i < 2 && !broken_ && order_.size() < kLiveMax; ++i) {
    void* const block = ask(request);
    if (!block) break;
    lent += block == wrong;
    if (lent > 0) return breaks(Promise::wrong_free, "lent what was wrongly freed");
    admit(block, request);
  }
  const StrikeGate::Quiet quiet(gate_);
  (void)device_->take_last_error();
}

}  // namespace drought
