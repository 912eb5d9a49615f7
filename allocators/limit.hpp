// Refuses what would take its upstream's live bytes above a cap: a budget without a smaller GPU, so that
// the allocator above it runs out of memory at a byte that a scenario can name.
#pragma once

#include <stdexcept>
#include <string>
#include <tuple>

#include "harness/memory/address_table.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Limit final : public Resource {
 public:
  struct Options {
    std::size_t capacity_bytes = 1_GiB;
    static constexpr auto keys() { return std::tuple{key("capacity_bytes", &Options::capacity_bytes)}; }
  };

  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn[] = {{"capacity_bytes", 1, 256_MiB}};

  /// `upstream` outlives this. Throws std::invalid_argument for a capacity of nothing.
  Limit(Resource& upstream, Options options) : upstream_(upstream), capacity_bytes_(options.capacity_bytes) {
    if (capacity_bytes_ == 0) throw std::invalid_argument("limit: capacity_bytes must not be 0");
  }

  /// Bytes count as they were asked for, without what upstream rounds up.
  void* allocate(Request request) override {
    if (request.bytes > capacity_bytes_ - live_bytes_)
      throw OutOfMemory(request,
                        format_bytes(live_bytes_) + " of " + format_bytes(capacity_bytes_) + " are lent");
    lent_.reserve_one();
    void* const block = upstream_.allocate(request);
    lent_.insert(reinterpret_cast<std::uintptr_t>(block), request.bytes);
    live_bytes_ += request.bytes;
    return block;
  }

  /// A block that is not lent is left alone: it would make room that is not there.
  void deallocate(void* block, Request request) noexcept override {
    std::size_t* const bytes = lent_.find(reinterpret_cast<std::uintptr_t>(block));
    if (!bytes) {
      ++refused_frees_;
      return;
    }
    live_bytes_ -= *bytes;
    lent_.erase(bytes);
    upstream_.deallocate(block, request);
  }

  std::size_t live_bytes() const { return live_bytes_; }
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  Resource& upstream_;
  const std::size_t capacity_bytes_;
  AddressTable<std::size_t> lent_;  ///< From a block to its bytes.
  std::size_t live_bytes_ = 0, refused_frees_ = 0;
};

}  // namespace drought
