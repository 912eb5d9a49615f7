// From an address to a value, in one flat array: what an allocator needs at every deallocate. Open
// addressing with linear probes, and removal by shifting back, so that nothing ages. A look-up costs
// a multiplication and, mostly, one cache line.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace drought {

template <typename Mapped>
class AddressTable {
 public:
  explicit AddressTable(std::size_t entries = 64) { rebuild(std::bit_ceil(entries * 2)); }

  std::size_t size() const { return size_; }

  /// Makes sure that one more insert takes no memory.
  void reserve_one() {
    if ((size_ + 1) * 2 > slots_.size()) rebuild(slots_.size() * 2);
  }

  /// `address` is not 0. A value that is already there is replaced.
  void insert(std::uintptr_t address, Mapped value) {
    reserve_one();
    Slot& slot = slots_[place(address)];
    size_ += slot.address == 0;
    slot = {address, std::move(value)};
  }

  Mapped* find(std::uintptr_t address) {
    Slot& slot = slots_[place(address)];
    return address != 0 && slot.address == address ? &slot.value : nullptr;
  }

  /// `found` came from find() just now.
  void erase(Mapped* found) {
    auto* slot = reinterpret_cast<Slot*>(reinterpret_cast<char*>(found) - offsetof(Slot, value));
    auto hole = static_cast<std::size_t>(slot - slots_.data());
    for (std::size_t at = next(hole); slots_[at].address != 0; at = next(at)) {
      const std::size_t wanted = home(slots_[at].address);
      if (((at - wanted) & mask_) < ((at - hole) & mask_)) continue;  // It is not past its home.
      slots_[hole] = std::move(slots_[at]);
      hole = at;
    }
    slots_[hole] = {};
    --size_;
  }

  /// In no particular order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Slot& slot : slots_)
      if (slot.address != 0) visit(slot.address, slot.value);
  }

 private:
  struct Slot {
    std::uintptr_t address = 0;
    Mapped value{};
  };

  std::size_t home(std::uintptr_t address) const { return (address * 0x9E3779B97F4A7C15u) >> shift_; }
  std::size_t next(std::size_t at) const { return (at + 1) & mask_; }

  std::size_t place(std::uintptr_t address) const {
    std::size_t at = home(address);
    while (slots_[at].address != 0 && slots_[at].address != address) at = next(at);
    return at;
  }

  void rebuild(std::size_t count) {
    std::vector<Slot> old(count);
    old.swap(slots_);
    mask_ = count - 1;
    shift_ = 64 - static_cast<unsigned>(std::countr_zero(count));
    for (Slot& slot : old)
      if (slot.address != 0) slots_[place(slot.address)] = std::move(slot);
  }

  std::vector<Slot> slots_;
  std::size_t mask_ = 0, size_ = 0;
  unsigned shift_ = 0;
};

}  // namespace drought
