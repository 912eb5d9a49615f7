// One link of a chain at work: every block is checked as it is lent and as it comes back.
#include <algorithm>

#include "harness/device/device.hpp"
#include "harness/memory/buffer.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/ledger.hpp"

namespace drought {
namespace {

std::size_t promised_tries(const Resource& resource) {
  const auto* const promise = dynamic_cast<const Retries*>(&resource);
  return promise ? promise->attempts_max() : 0;
}

}  // namespace

Account::Account(Ledger& ledger, std::string name, Resource& resource, Device& device, Account* below)
    : ledger_(ledger),
      name_(std::move(name)),
      resource_(resource),
      device_(device),
      below_(below),
      tries_max_(promised_tries(resource)),
      falls_back_(dynamic_cast<FallsBack*>(&resource)) {
  if (below_) {
    below_->above_ = this;
    ledger_.live_bytes_ -= below_->live_bytes_;  // What it borrowed while it was made is no workload's.
  }
  if (auto* const guard = dynamic_cast<GuardsBlocks*>(&resource_)) guard->report_damage_to(this);
  ledger_.accounts_.push_back(this);
}

Account::~Account() {
  if (auto* const guard = dynamic_cast<GuardsBlocks*>(&resource_)) guard->report_damage_to(nullptr);
  if (!above_) ledger_.live_bytes_ -= live_bytes_;
  if (below_) {
    below_->above_ = nullptr;
    ledger_.live_bytes_ += below_->live_bytes_;
  }
  std::erase(ledger_.accounts_, this);
}

std::string Account::called(const Allocation& allocation) const {
  return "'" + std::string(allocation.request.tag.view()) + "' (id " + std::to_string(allocation.id) + ", " +
         std::to_string(allocation.request.bytes) + " B, allocated at " + allocation.request.from.text() +
         ")";
}

const Allocation* Account::containing(std::uintptr_t address) const {
  auto after = live_.upper_bound(address);
  if (after == live_.begin()) return nullptr;
  const Allocation& before = std::prev(after)->second;
  return address < before.end() ? &before : nullptr;
}

void Account::begin_try(std::size_t bytes) {
  last_try_ = ledger_.record_.begin_attempt(
      {.what = name_ + " grow", .number = refusals_ + 1, .cap = tries_max_, .size = bytes});
}

void Account::end_try(Attempt::End end) {
  refusals_ = end == Attempt::End::out_of_memory ? refusals_ + 1 : 0;
  ledger_.record_.end_attempt(last_try_, end);
}

void* Account::allocate(Request request) {
  Account* const grower = above_ && above_->grows_ ? above_ : nullptr;
  if (grower) grower->begin_try(request.bytes);
  try {
    void* const block = lend(request);
    grows_ = false;
    if (grower) grower->end_try(Attempt::End::succeeded);
    return block;
  } catch (const OutOfMemory&) {
    grows_ = false;
    if (grower) grower->end_try(Attempt::End::out_of_memory);
    throw;
  } catch (...) {
    grows_ = false;
    // What came between two tries and ended them was not a lack of memory.
    if (refusals_ != 0) end_try(Attempt::End::other_error);
    if (grower) grower->end_try(Attempt::End::other_error);
    throw;
  }
}

void* Account::lend(const Request& request) {
  CallGate* const gate = device_.gate();
  Call call{.site = Site::allocate, .bytes = request.bytes, .tag = request.tag, .stream = request.stream};
  call.resource = name_;
  call.lender = &resource_;
  if (gate) gate->enter(call);
  if (call.refused) {
    gate->leave(call, *call.refused);
    throw OutOfMemory(request, "struck at '" + name_ + "'");
  }
  // From here on: what a fault asked of the resource at the gate is nobody's try.
  grows_ = tries_max_ != 0;
  refusals_ = 0;
  void* block = nullptr;
  try {
    block = resource_.allocate(request);
  } catch (const DeviceError& error) {
    if (gate) gate->leave(call, error.status());
    throw;
  } catch (...) {
    if (gate) gate->leave(call, Status::memory_allocation);
    throw;
  }
  admit(block, request);
  if (gate) gate->leave(call, Status::success);
  return block;
}

void Account::admit(void* block, const Request& request) {
  Allocation made;
  made.id = ledger_.next_id_++;
  made.begin = reinterpret_cast<std::uintptr_t>(block);
  made.request = request;
  made.phase = ledger_.phase_;
  made.generation = ledger_.generation_;
  const auto wrong = [&](const std::string& what) {
    ledger_.record_.violate("accounting", name_ + " lent " + called(made) + " " + what);
  };
  if (made.begin == 0) wrong("at a null address");
  if (made.begin % request.alignment != 0) wrong("not aligned to " + std::to_string(request.alignment));
  const auto next = live_.lower_bound(made.begin);
  if (next != live_.end() && next->second.begin < made.end()) wrong("over live " + called(next->second));
  if (next != live_.begin() && std::prev(next)->second.end() > made.begin)
    wrong("over live " + called(std::prev(next)->second));
  if (below_) {
    const Allocation* lender = below_->containing(made.begin);
    const bool is_inside = lender && lender->end() >= made.end();
    if (!is_inside && !ledger_.is_mapped(made.begin, made.end())) wrong("outside all memory it has borrowed");
  }
  live_.insert_or_assign(next, made.begin, std::move(made));
  live_bytes_ += request.bytes;
  if (!above_) ledger_.live_bytes_ += request.bytes;
  ++ledger_.record_.allocations;
  if (!above_) ledger_.update_peak();
}

void Account::deallocate(void* block, Request request) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(block);
  const auto found = live_.find(begin);
  if (found == live_.end()) {
    const Ledger::Freed* freed = ledger_.freed_around(begin);
    ledger_.record_.violate(
        "accounting",
        name_ + ": " +
            (freed ? "double free of '" + std::string(freed->tag.view()) + "' (id " +
                         std::to_string(freed->id) + "), freed first " + ledger_.how_freed(*freed)
                   : "free of '" + std::string(request.tag.view()) + "', a block that it never lent") +
            ", asked at " + request.from.text());
    return;
  }
  Allocation& lent = found->second;
  if (lent.request.bytes != request.bytes || lent.request.alignment != request.alignment)
    ledger_.record_.violate("accounting", name_ + ": " + called(lent) + " freed with " +
                                              std::to_string(request.bytes) + " B at alignment " +
                                              std::to_string(request.alignment) + ", asked at " +
                                              request.from.text());
  if (above_) {
    const auto inside = above_->live_.lower_bound(lent.begin);
    if (inside != above_->live_.end() && inside->second.begin < lent.end())
      ledger_.record_.violate("accounting", above_->name_ + " gave back memory in which " +
                                                above_->called(inside->second) + " still lives");
  }
  const Request asked = lent.request;  // The allocator is never handed a mistake that was just reported.
  CallGate* const gate = device_.gate();
  Call call{.site = Site::deallocate,
            .bytes = asked.bytes,
            .tag = asked.tag,
            .stream = asked.stream,
            .data = block};
  call.resource = name_;
  if (gate) gate->enter(call);
  ledger_.bury(lent, request);
  live_bytes_ -= asked.bytes;
  if (!above_) ledger_.live_bytes_ -= asked.bytes;
  live_.erase(found);
  ++ledger_.record_.frees;
  resource_.deallocate(block, asked);
  if (falls_back_)
    if (const std::string_view what = falls_back_->take_fallback(); !what.empty())
      ledger_.record_.fallbacks.push_back(name_ + ": " + std::string(what));
  if (gate) gate->leave(call, Status::success);
}

void Account::looked_at_block(std::string_view damage) {
  ++ledger_.record_.looked_at_blocks;
  if (!damage.empty()) ledger_.record_.violate("no_overrun", name_ + ": " + std::string(damage));
}

void Account::could_not_look(std::string_view why) {
  ledger_.record_.fallbacks.push_back(name_ + " could not look at a block: " + std::string(why));
}

void Account::releasing(const std::shared_ptr<Block>& block) noexcept {
  const auto found = live_.find(reinterpret_cast<std::uintptr_t>(block->data));
  if (found != live_.end()) found->second.owned = false;
  CallGate* const gate = device_.gate();
  if (!gate) return;
  Call call{.site = Site::release, .bytes = block->request.bytes, .tag = block->request.tag};
  call.resource = name_;
  call.data = block->data;
  call.block = block;
  gate->enter(call);
  gate->leave(call, Status::success);
}

void Account::lease_changed(void* data, std::string_view holder, bool begins) noexcept {
  const auto found = live_.find(reinterpret_cast<std::uintptr_t>(data));
  if (found == live_.end()) return;
  std::vector<std::string>& leases = found->second.leases;
  if (begins) {
    leases.emplace_back(holder);
  } else if (const auto ended = std::find(leases.begin(), leases.end(), holder); ended != leases.end()) {
    leases.erase(ended);
  }
}

}  // namespace drought
