#include "allocators/kv_slots.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

std::size_t slab_bytes(const KvSlots::Options& options) {
  if (options.slots == 0 || options.slot_bytes == 0)
    throw std::invalid_argument("kv_slots: slots and slot_bytes must be above 0");
  if (options.slots >= std::size_t{1} << 31)
    throw std::invalid_argument("kv_slots: slots must be below 2^31");
  if (options.slot_bytes >= (std::size_t{1} << 60) / (options.slots + 1))
    throw std::invalid_argument("kv_slots: a slab of more than 1 EB");
  return (options.slots + 1) * options.slot_bytes;
}

void check_bug(const std::string& word) {
  if (word != "none" && word != "unchecked_free" && word != "hold_issued")
    throw std::invalid_argument("kv_slots: unknown bug '" + word +
                                "'; known: none, unchecked_free, hold_issued");
}

}  // namespace

KvSlots::KvSlots(Resource& upstream, Options options)
    : slots_(options.slots),
      slot_bytes_(options.slot_bytes),
      checks_frees_(options.bug != "unchecked_free"),
      issues_hold_(options.bug == "hold_issued"),
      slab_((check_bug(options.bug), upstream),
            Request{.bytes = slab_bytes(options), .tag = "kv_slots.slab"}),
      use_(options.slots + (issues_hold_ ? 1 : 0)),
      next_(use_.size() + 1),
      before_(use_.size() + 1),
      runs_(use_.size()) {
  free_all();
}

void KvSlots::free_all() {
  lent_ = AddressTable<Run>();
  std::fill(use_.begin(), use_.end(), Use::free);
  runs_.set(0, use_.size(), true);
  const Slot places = end_of_stack() + 1;
  for (Slot at = 0; at < places; ++at) {
    next_[at] = (at + 1) % places;
    before_[at] = (at + places - 1) % places;
  }
  can_use_ = use_.size();
  changed(0);
}

void KvSlots::push(Slot slot) {
  const Slot end = end_of_stack(), top = next_[end];
  next_[end] = before_[top] = slot;
  before_[slot] = end;
  next_[slot] = top;
}

void KvSlots::remove(Slot slot) {
  next_[before_[slot]] = next_[slot];
  before_[next_[slot]] = before_[slot];
}

void KvSlots::take(Slot first, std::size_t count, Use use) {
  for (Slot slot = first; slot < first + count; ++slot) {
    remove(slot);
    use_[slot] = use;
  }
  runs_.set(first, count, false);
  changed(-static_cast<std::ptrdiff_t>(count));
}

void KvSlots::changed(std::ptrdiff_t freed) {
  can_use_ += static_cast<std::size_t>(freed);
  if (mirror_) *mirror_ = can_use_;
}

void KvSlots::mirror_to(std::size_t* counter) {
  mirror_ = counter;
  changed(0);
}

void* KvSlots::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("kv_slots: a request of no bytes");
  const std::size_t alignment = std::min<std::size_t>(256, slot_bytes_ & (~slot_bytes_ + 1));
  if (request.alignment > alignment)
    throw std::invalid_argument("kv_slots: slots are aligned to " + std::to_string(alignment) + " B");
  const std::size_t count = (request.bytes - 1) / slot_bytes_ + 1;
  lent_.reserve_one();
  const std::optional<std::size_t> run = runs_.lowest(count);
  if (!run)
    throw OutOfMemory(request, std::to_string(count) + " slots in a row: " + std::to_string(can_use_) +
                                   " are free, the longest run has " + std::to_string(longest_run()));
  const Slot first = count == 1 ? next_[end_of_stack()] : static_cast<Slot>(*run);
  take(first, count, Use::run);
  lent_.insert(reinterpret_cast<std::uintptr_t>(address_of(first)), {first, count});
  return address_of(first);
}

void KvSlots::deallocate(void* block, Request) noexcept {
  Run* const lent = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!lent) {
    ++refused_frees_;
    return;
  }
  const Run run = *lent;
  lent_.erase(lent);
  for (Slot slot = run.first + static_cast<Slot>(run.count); slot-- > run.first;) {
    use_[slot] = Use::free;
    push(slot);
  }
  runs_.set(run.first, run.count, true);
  changed(static_cast<std::ptrdiff_t>(run.count));
}

std::vector<KvSlots::Slot> KvSlots::slots(std::size_t count) {
  if (count > can_use_)
    throw OutOfMemory({.bytes = count * slot_bytes_, .tag = "kv_slots"},
                      std::to_string(count) + " slots: " + std::to_string(can_use_) + " are free");
  std::vector<Slot> list(count);
  for (Slot& slot : list) {
    slot = next_[end_of_stack()];
    take(slot, 1, Use::listed);
  }
  return list;
}

void KvSlots::free(std::span<const Slot> list) {
  const auto refuse = [&](std::size_t valid, const std::string& why) {
    for (const Slot slot : list.first(valid)) use_[slot] = Use::listed;
    throw std::invalid_argument("kv_slots: slot " + std::to_string(list[valid]) + why);
  };
  // A slot is marked free as it is seen, so that one named twice is seen too.
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i] >= use_.size()) refuse(i, " is none that is ever lent");
    if (use_[list[i]] != Use::listed && checks_frees_) refuse(i, " is not lent, or named twice");
    use_[list[i]] = Use::free;
  }
  for (std::size_t i = list.size(); i-- > 0;) {
    push(list[i]);
    runs_.set(list[i], 1, true);
  }
  changed(static_cast<std::ptrdiff_t>(list.size()));
}

std::string KvSlots::broken_invariant() const {
  std::vector<std::uint8_t> on_stack(use_.size());
  std::size_t free_slots = 0, lent_slots = 0;
  for (Slot slot = next_[end_of_stack()]; slot != end_of_stack(); slot = next_[slot]) {
    if (on_stack[slot]++) return "slot " + std::to_string(slot) + " is free twice";
    if (use_[slot] != Use::free) return "slot " + std::to_string(slot) + " is free and lent";
    if (slot == hold_slot()) return "the hold row is free";
    ++free_slots;
  }
  for (Slot slot = 0; slot < use_.size(); ++slot) {
    lent_slots += use_[slot] != Use::free;
    if (use_[slot] == Use::free && !on_stack[slot]) return "slot " + std::to_string(slot) + " is lost";
    if (use_[slot] != Use::free && slot == hold_slot()) return "the hold row is lent";
  }
  if (free_slots != can_use_)
    return std::to_string(free_slots) + " slots are free and can_use is " + std::to_string(can_use_);
  if (free_slots + lent_slots != slots_) return "free and lent slots do not add up to the size";
  if (mirror_ && *mirror_ != can_use_)
    return "the mirror says " + std::to_string(*mirror_) + ", not " + std::to_string(can_use_);
  return {};
}

}  // namespace drought
