// RMM's pool as lists that are searched from end to end: slow, and nothing shared with the allocator but
// the rules. Says for each call what the allocator must answer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "harness/memory/bytes.hpp"

namespace drought {

class PoolModel {
 public:
  struct Hole {
    std::uintptr_t address = 0;
    std::size_t bytes = 0;
    bool is_head = false;  ///< Begins an upstream block, so nothing before it may join it.
  };
  struct Answer {
    std::optional<std::uintptr_t> address;  ///< None: out of memory.
    std::vector<std::size_t> borrowed;      ///< What upstream was asked for, in order.
    std::size_t given_back = 0;             ///< Blocks that went back before that.
  };

  PoolModel(std::size_t maximum_bytes, bool reclaims) : maximum_(maximum_bytes), reclaims_(reclaims) {}

  /// An upstream block that the pool borrowed came at `address`.
  void borrowed(std::uintptr_t address, std::size_t bytes, std::uint64_t stream) {
    heads_[address] = bytes;
    reserved_ += bytes;
    insert(list(stream), {address, bytes, true});
  }

  /// `lend` stands for upstream: the address of a block of so many bytes, or none.
  template <typename Lend>
  Answer allocate(std::size_t bytes, std::uint64_t stream, Lend&& lend) {
    bytes = round_up(bytes, 256);
    Answer answer;
    (void)list(stream);
    for (const std::uint64_t from : search_order(stream))
      if ((answer.address = take(list(from), bytes))) return answer;
    for (const std::uint64_t from : search_order(stream)) {
      if (from == stream) continue;
      for (const Hole& hole : std::exchange(list(from), {})) insert(list(stream), hole);
      if ((answer.address = take(list(stream), bytes))) return answer;
    }
    std::size_t step = growth(bytes);
    if (step < bytes && reclaims_ && maximum_ != 0 && bytes <= maximum_) {
      answer.given_back = reclaim(bytes, list(stream));
      step = growth(bytes);
    }
    for (; step >= bytes; step = std::max(bytes, step / 2)) {
      answer.borrowed.push_back(step);
      if (const std::optional<std::uintptr_t> at = lend(step)) {
        borrowed(*at, step, stream);
        answer.address = take(list(stream), bytes);
        return answer;
      }
      if (step == bytes) break;
    }
    return answer;
  }

  void free(std::uintptr_t address, std::size_t bytes, std::uint64_t stream) {
    insert(list(stream), {address, round_up(bytes, 256), heads_.contains(address)});
  }

  std::size_t reserved() const { return reserved_; }
  /// (address, bytes) of every hole.
  std::set<std::pair<std::uintptr_t, std::size_t>> holes() const {
    std::set<std::pair<std::uintptr_t, std::size_t>> found;
    for (const auto& [stream, holes] : lists_)
      for (const Hole& hole : holes) found.emplace(hole.address, hole.bytes);
    return found;
  }

 private:
  using List = std::vector<Hole>;  // By rising address.

  List& list(std::uint64_t stream) {
    for (auto& [of, holes] : lists_)
      if (of == stream) return holes;
    lists_.emplace_back(stream, List{});
    return lists_.back().second;
  }

  std::vector<std::uint64_t> search_order(std::uint64_t own) const {
    std::vector<std::uint64_t> order{own};
    for (const auto& [stream, holes] : lists_)
      if (stream != own) order.push_back(stream);
    return order;
  }

  static void insert(List& holes, const Hole& hole) {
    holes.insert(std::find_if(holes.begin(), holes.end(),
                              [&](const Hole& other) { return other.address > hole.address; }),
                 hole);
    for (std::size_t i = 1; i < holes.size();) {
      if (holes[i - 1].address + holes[i - 1].bytes == holes[i].address && !holes[i].is_head) {
        holes[i - 1].bytes += holes[i].bytes;
        holes.erase(holes.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
  }

  static std::optional<std::uintptr_t> take(List& holes, std::size_t bytes) {
    Hole* best = nullptr;
    for (Hole& hole : holes)
      if (hole.bytes >= bytes && (!best || hole.bytes < best->bytes)) best = &hole;
    if (!best) return {};
    const std::uintptr_t address = best->address;
    if (best->bytes == bytes)
      holes.erase(holes.begin() + (best - holes.data()));
    else
      *best = {address + bytes, best->bytes - bytes, false};
    return address;
  }

  std::size_t growth(std::size_t bytes) const {
    if (maximum_ == 0) return std::max(bytes, reserved_);
    const std::size_t left = round_up(maximum_ - reserved_, 256);
    return bytes <= left ? std::max(bytes, left / 2) : 0;
  }

  std::size_t reclaim(std::size_t bytes, List& holes) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < holes.size() && maximum_ - reserved_ < bytes;) {
      const auto head = heads_.find(holes[i].address);
      if (head == heads_.end() || head->second != holes[i].bytes) {
        ++i;
        continue;
      }
      reserved_ -= head->second;
      heads_.erase(head);
      holes.erase(holes.begin() + static_cast<std::ptrdiff_t>(i));
      ++count;
    }
    return count;
  }

  const std::size_t maximum_;
  const bool reclaims_;
  std::size_t reserved_ = 0;
  std::vector<std::pair<std::uint64_t, List>> lists_;  // In the order in which streams were first seen.
  std::map<std::uintptr_t, std::size_t> heads_;
};

}  // namespace drought
