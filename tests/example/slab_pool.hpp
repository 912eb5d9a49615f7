// The allocator of this project: slabs of one size, each lent out from front to back, and given back once
// all that was lent from it has come back.
#pragma once

#include <algorithm>
#include <list>

#include "harness/memory/buffer.hpp"
#include "harness/memory/resource.hpp"

class SlabPool final : public drought::Resource {
 public:
  struct Options {
    std::size_t slab_bytes = std::size_t{2} << 20;
    bool forgets_on_failure = false;  ///< The planted bug: a request that fails keeps its slab in use.
  };

  SlabPool(drought::Resource& upstream, Options options) : upstream_(upstream), options_(options) {}
  ~SlabPool() override {
    for (const Slab& slab : slabs_) upstream_.deallocate(slab.begin, slab.request);
  }

  /// A block over the size of a slab gets one of its own. With each slab goes a block for its bookkeeping.
  void* allocate(drought::Request request) override {
    const std::size_t bytes = (request.bytes + 255) / 256 * 256;
    for (Slab& slab : slabs_)
      if (slab.request.bytes - slab.used >= bytes && slab.request.alignment >= request.alignment)
        return take(slab, bytes);
    Slab slab;
    slab.request = {.bytes = std::max(bytes, options_.slab_bytes), .tag = "slab"};
    slab.request.alignment = std::max<std::size_t>(request.alignment, 256);
    slab.begin = static_cast<std::byte*>(upstream_.allocate(slab.request));
    try {
      slab.bookkeeping = drought::Buffer(upstream_, {.bytes = 256, .tag = "bookkeeping"});
    } catch (...) {
      if (!options_.forgets_on_failure) upstream_.deallocate(slab.begin, slab.request);
      throw;
    }
    slabs_.push_back(std::move(slab));
    return take(slabs_.back(), bytes);
  }

  void deallocate(void* block, drought::Request) noexcept override {
    for (auto slab = slabs_.begin(); slab != slabs_.end(); ++slab) {
      if (block < slab->begin || block >= slab->begin + slab->request.bytes) continue;
      if (--slab->lent != 0) return;
      upstream_.deallocate(slab->begin, slab->request);
      slabs_.erase(slab);
      return;
    }
  }

 private:
  struct Slab {
    drought::Request request;
    std::byte* begin = nullptr;
    drought::Buffer bookkeeping;
    std::size_t used = 0, lent = 0;
  };

  static void* take(Slab& slab, std::size_t bytes) {
    void* const block = slab.begin + slab.used;
    slab.used += bytes;
    ++slab.lent;
    return block;
  }

  drought::Resource& upstream_;
  const Options options_;
  std::list<Slab> slabs_;
};
