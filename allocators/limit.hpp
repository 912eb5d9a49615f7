// Refuses what would take its upstream's live bytes above a cap: a budget without a smaller GPU, so that
// the allocator above it runs out of memory at a byte that a scenario can name.
#pragma once

#include <stdexcept>
#include <string>
#include <tuple>

#include "harness/memory/bytes.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Limit final : public Resource {
 public:
  struct Options {
    std::size_t capacity_bytes = 1_GiB;
    static constexpr auto keys() { return std::tuple{key("capacity_bytes", &Options::capacity_bytes)}; }
  };

  /// `upstream` outlives this. Throws std::invalid_argument for a capacity of nothing.
  Limit(Resource& upstream, Options options) : upstream_(upstream), capacity_bytes_(options.capacity_bytes) {
    if (capacity_bytes_ == 0) throw std::invalid_argument("limit: capacity_bytes must not be 0");
  }

  /// Bytes count as they were asked for, without what upstream rounds up.
  void* allocate(Request request) override {
    if (request.bytes > capacity_bytes_ - live_bytes_)
      throw OutOfMemory(request,
                        format_bytes(live_bytes_) + " of " + format_bytes(capacity_bytes_) + " are lent");
    void* const block = upstream_.allocate(request);
    live_bytes_ += request.bytes;
    return block;
  }

  void deallocate(void* block, Request request) noexcept override {
    live_bytes_ -= request.bytes;
    upstream_.deallocate(block, request);
  }

  std::size_t live_bytes() const { return live_bytes_; }

 private:
  Resource& upstream_;
  const std::size_t capacity_bytes_;
  std::size_t live_bytes_ = 0;
};

}  // namespace drought
