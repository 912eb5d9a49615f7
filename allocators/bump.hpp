// Hands out one slab front to back and reclaims nothing until it is destroyed. The cheapest
// allocator there is, so the yardstick for what the others' bookkeeping costs.
#pragma once

#include <stdexcept>
#include <tuple>

#include "harness/memory/buffer.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Bump final : public Resource {
 public:
  struct Options {
    std::size_t slab_bytes = 64_MiB;
    static constexpr auto keys() { return std::tuple{key("slab_bytes", &Options::slab_bytes)}; }
  };

  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn[] = {{"slab_bytes", 1, 256_MiB}};

  /// Borrows the slab at once, so that an upstream failure shows here. `upstream` outlives this.
  Bump(Resource& upstream, Options options)
      : slab_(upstream, Request{.bytes = options.slab_bytes, .tag = "bump.slab"}) {}

  void* allocate(Request request) override {
    if (request.bytes == 0) throw std::invalid_argument("bump: a request of no bytes");
    const std::size_t start = slab_.aligned_offset(used_bytes_, request.alignment);
    const bool fits = start <= slab_.bytes() && request.bytes <= slab_.bytes() - start;
    if (!fits) throw OutOfMemory(request, "the slab is used up");
    used_bytes_ = start + request.bytes;
    return slab_.data() + start;
  }

  void deallocate(void*, Request) noexcept override {}

  std::size_t used_bytes() const { return used_bytes_; }

 private:
  Buffer slab_;
  std::size_t used_bytes_ = 0;
};

}  // namespace drought
