// One allocation with its owner, which frees itself. It is shared only through leases: whoever else
// keeps the memory alive (a graph, a stream, an error, a peer) holds a Lease under its own name, so
// that a teardown check can say who still holds what.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "harness/memory/resource.hpp"

namespace drought {

/// The memory behind a buffer and its leases; returned to its resource when the last of them ends.
struct Block {
  Block(Resource& upstream, const Request& wanted)
      : resource(&upstream), request(wanted), data(upstream.allocate(wanted)) {}
  ~Block() { resource->deallocate(data, request); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  Resource* resource;
  Request request;
  void* data;
};

/// Keeps a block alive under a holder's name, which the ledger knows from now on.
class Lease {
 public:
  Lease() = default;
  Lease(std::shared_ptr<Block> block, std::string holder)
      : block_(std::move(block)), holder_(std::move(holder)) {
    if (block_) block_->resource->lease_changed(block_->data, holder_, true);
  }
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      drop();
      block_ = std::move(other.block_);
      holder_ = std::move(other.holder_);
    }
    return *this;
  }
  ~Lease() { drop(); }

  void drop() noexcept {
    if (!block_) return;
    block_->resource->lease_changed(block_->data, holder_, false);
    block_.reset();
  }
  explicit operator bool() const { return block_ != nullptr; }
  void* data() const { return block_ ? block_->data : nullptr; }
  const std::string& holder() const { return holder_; }

 private:
  std::shared_ptr<Block> block_;
  std::string holder_;
};

/// Owns one allocation of `upstream`, which outlives it and every lease. Move-only.
class Buffer {
 public:
  Buffer() = default;
  /// Throws what `upstream` throws.
  Buffer(Resource& upstream, const Request& request) : block_(std::make_shared<Block>(upstream, request)) {}
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      if (block_) reset(block_->request.from);
      block_ = std::move(other.block_);
    }
    return *this;
  }
  ~Buffer() {
    if (block_) reset(block_->request.from);
  }

  /// Lets go. The block returns at once, or when the last lease on it ends; `from` is where it was let go.
  void reset(CallSite from = CallSite::here()) noexcept {
    if (!block_) return;
    block_->request.from = from;
    block_->resource->releasing(block_);
    block_.reset();
  }

  Lease lease(std::string holder) const { return Lease(block_, std::move(holder)); }

  explicit operator bool() const { return block_ != nullptr; }
  std::byte* data() const { return block_ ? static_cast<std::byte*>(block_->data) : nullptr; }
  std::size_t bytes() const { return block_ ? block_->request.bytes : 0; }
  Tag tag() const { return block_ ? block_->request.tag : Tag(); }

  /// The least offset >= `used` whose address is a multiple of `alignment` (a power of two).
  std::size_t aligned_offset(std::size_t used, std::size_t alignment) const {
    const auto base = reinterpret_cast<std::uintptr_t>(data());
    return ((base + used + alignment - 1) & ~(alignment - 1)) - base;
  }

 private:
  std::shared_ptr<Block> block_;
};

}  // namespace drought
