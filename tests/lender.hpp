// The upstream of an allocator under test: passes each request on to the device, and knows every range
// that it has lent. It refuses what is given back wrongly and says what was wrong with it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "allocators/direct.hpp"

namespace drought {

class Lender final : public Resource {
 public:
  explicit Lender(Device& device) : direct_(device, {}) {}

  void* allocate(Request request) override {
    void* const block = direct_.allocate(request);
    lent_.emplace(reinterpret_cast<std::uintptr_t>(block), request);
    borrowed_bytes_ += request.bytes;
    return block;
  }

  void deallocate(void* block, Request request) noexcept override {
    const auto found = lent_.find(reinterpret_cast<std::uintptr_t>(block));
    if (found == lent_.end()) {
      mistake_ = "gave back a range that it had not borrowed";
      return;
    }
    const auto [begin, lent] = *found;
    if (lent.bytes != request.bytes || lent.alignment != request.alignment)
      mistake_ = "gave back " + std::to_string(request.bytes) + " B, where it had borrowed " +
                 std::to_string(lent.bytes) + " B";
    ++give_backs_;
    borrowed_bytes_ -= lent.bytes;
    given_back_.emplace_back(begin, lent.bytes);
    lent_.erase(found);
    direct_.deallocate(block, lent);
  }

  /// The first address of the range that holds [begin, begin + bytes); 0 when none does.
  std::uintptr_t range_of(std::uintptr_t begin, std::size_t bytes) const {
    const auto after = lent_.upper_bound(begin);
    if (after == lent_.begin()) return 0;
    const auto& [start, request] = *std::prev(after);
    return begin - start <= request.bytes && bytes <= request.bytes - (begin - start) ? start : 0;
  }

  std::size_t borrowed_bytes() const { return borrowed_bytes_; }
  std::uint64_t give_backs() const { return give_backs_; }
  bool gave_anything_back() const { return !given_back_.empty(); }
  /// Ranges given back since the last time.
  std::vector<std::pair<std::uintptr_t, std::size_t>> take_given_back() {
    return std::exchange(given_back_, {});
  }
  bool has_mistake() const { return !mistake_.empty(); }
  /// What was wrong with the latest wrong give-back.
  std::string take_mistake() { return std::exchange(mistake_, {}); }

 private:
  Direct direct_;
  std::map<std::uintptr_t, Request> lent_;
  std::vector<std::pair<std::uintptr_t, std::size_t>> given_back_;
  std::size_t borrowed_bytes_ = 0;
  std::uint64_t give_backs_ = 0;
  std::string mistake_;
};

}  // namespace drought
