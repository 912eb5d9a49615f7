// Slots of one reserved range of addresses, each mapped when it is first used and kept mapped for the next
// user. Four calls for a slot, so four ways to be left with a part of one.
#pragma once

#include <array>

#include "harness/device/device.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/resource.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class MappedSlots final : public Resource {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"reservation_forgotten", "reserves anew when the memory for a slot is refused", "leaked"},
      {"handle_leaked_when_map_fails", "forgets the memory that could not be mapped", "leaked"},
      {"mapping_left_when_access_fails", "forgets to unmap what nobody may touch", "leaked"},
      {"access_error_ignored", "lends memory that nobody may touch", "failed"},
      {"slot_not_given_back", "counts a slot as lent before it has been mapped", "failed"},
      {"failed_unmap_believed", "keeps the memory of a slot whose unmapping reports an error", "leaked"},
      {"count_taken_back_twice", "counts a slot that failed off twice, and unmaps one too few", "leaked"},
  };

  MappedSlots(Device& device, Options options) : device_(device), planted_(std::move(options)) {}
  ~MappedSlots() override {
    for (std::size_t i = 0; i < kSlots; ++i)
      if (slots_[i].state != State::empty && mapped_ > 0) unmap(i);
    if (range_) (void)device_.address_free(range_, kSlots * kSlotBytes);
  }

  void* allocate(Request request) override {
    if (request.bytes > kSlotBytes) throw OutOfMemory(request, "above a slot");
    for (std::size_t i = 0; i < kSlots; ++i)
      if (slots_[i].state == State::idle && slots_[i].stream == request.stream) return lend(i, request);
    // A slot that has just failed is the last to be tried again.
    for (std::size_t tried = 0; tried < kSlots; ++tried) {
      const std::size_t i = next_++ % kSlots;
      if (slots_[i].state != State::empty) continue;
      map(i, request);
      return lend(i, request);
    }
    throw OutOfMemory(request, "every slot is lent");
  }

  void deallocate(void* block, Request) noexcept override {
    const auto i = static_cast<std::size_t>(static_cast<std::byte*>(block) - range_) / kSlotBytes;
    slots_[i].state = State::idle;
    // The last slots are not kept.
    if (i >= kSlots / 2 && device_.stream_synchronize(slots_[i].stream) == Status::success) unmap(i);
  }

 private:
  enum class State : unsigned char { empty, idle, lent };
  struct Slot {
    State state = State::empty;
    MemoryHandle handle;
    Stream stream;
  };
  static constexpr std::size_t kSlots = 4, kSlotBytes = 2_MiB;

  void* at(std::size_t slot) const { return range_ + slot * kSlotBytes; }

  void* lend(std::size_t slot, const Request& request) {
    slots_[slot].state = State::lent;
    slots_[slot].stream = request.stream;
    return at(slot);
  }

  [[noreturn]] static void refuse(const Request& request, Status status, std::string_view call) {
    if (status == Status::memory_allocation) throw OutOfMemory(request, call);
    throw DeviceError(status, call);
  }

  void map(std::size_t slot, const Request& request) {
    const bool is_new = !range_;
    if (is_new) {
      void* range = nullptr;
      const Status status = device_.address_reserve(range, kSlots * kSlotBytes);
      if (status != Status::success) refuse(request, status, "cuMemAddressReserve");
      range_ = static_cast<std::byte*>(range);
    }
    if (planted_("slot_not_given_back")) slots_[slot].state = State::lent;
    ++mapped_;
    try {
      slots_[slot].handle = mapped(slot, request);
    } catch (...) {
      mapped_ -= planted_("count_taken_back_twice") ? 2 : 1;
      if (is_new && planted_("reservation_forgotten")) range_ = nullptr;
      throw;
    }
  }

  MemoryHandle mapped(std::size_t slot, const Request& request) {
    MemoryHandle handle;
    Status status = device_.mem_create(handle, kSlotBytes, request.tag);
    if (status != Status::success) refuse(request, status, "cuMemCreate");
    status = device_.mem_map(at(slot), kSlotBytes, 0, handle);
    if (status != Status::success) {
      if (!planted_("handle_leaked_when_map_fails")) (void)device_.mem_release(handle);
      refuse(request, status, "cuMemMap");
    }
    status = device_.mem_set_access(at(slot), kSlotBytes, Protection::read_write);
    if (status != Status::success && !planted_("access_error_ignored")) {
      if (!planted_("mapping_left_when_access_fails")) (void)device_.mem_unmap(at(slot), kSlotBytes);
      (void)device_.mem_release(handle);
      refuse(request, status, "cuMemSetAccess");
    }
    return handle;
  }

  void unmap(std::size_t slot) noexcept {
    // Nothing refuses to be unmapped: an error reports what happened before.
    const Status status = device_.mem_unmap(at(slot), kSlotBytes);
    slots_[slot].state = State::empty;
    --mapped_;
    if (planted_("failed_unmap_believed") && status != Status::success) return;
    (void)device_.mem_release(slots_[slot].handle);
  }

  Device& device_;
  const Planted planted_;
  std::byte* range_ = nullptr;
  std::size_t next_ = 0;
  int mapped_ = 0;
  std::array<Slot, kSlots> slots_;
};

}  // namespace drought
