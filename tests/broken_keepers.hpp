// Allocators that keep what is freed, with one defect each: what the machine over an allocator must
// notice that a layer which passes everything on cannot do wrong. The first is sound.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "tests/broken_allocators.hpp"

namespace drought {

/// Lends a freed block again to a request of its size, alignment and stream. Sound.
class Keeps : public PassesOn, public Trims {
 public:
  using PassesOn::PassesOn;
  ~Keeps() override { give_back_idle(); }

  void* allocate(Request request) override {
    for (std::size_t i = 0; i < idle_.size(); ++i) {
      if (!serves(idle_[i].second, request)) continue;
      void* const block = idle_[i].first;
      lent_[block] = std::exchange(idle_[i], idle_.back()).second;
      idle_.pop_back();
      return block;
    }
    void* const block = borrow(request);
    lent_[block] = request;
    reserved_bytes_ += request.bytes;
    return block;
  }

  void deallocate(void* block, Request request) noexcept override {
    const auto found = lent_.find(block);
    if (found == lent_.end()) return unknown(block, request);
    idle_.emplace_back(block, found->second);
    lent_.erase(found);
  }

  std::size_t trim() override {
    // What is queued may still use what was freed.
    if (device_.synchronize() != Status::success) throw DeviceError(Status::unknown, "cudaDeviceSynchronize");
    return give_back_idle();
  }
  std::size_t reserved_bytes() const override { return reserved_bytes_; }

 protected:
  static bool same(const Request& kept, const Request& wanted) {
    return kept.bytes == wanted.bytes && kept.alignment == wanted.alignment;
  }
  virtual bool serves(const Request& kept, const Request& wanted) const {
    return same(kept, wanted) && kept.stream == wanted.stream;
  }
  virtual void* borrow(const Request& request) {
    try {
      return upstream_.allocate(request);
    } catch (const OutOfMemory&) {
      trim();
    }
    return upstream_.allocate(request);
  }
  virtual void unknown(void*, const Request&) noexcept {}
  std::size_t give_back_idle() {
    std::size_t bytes = 0;
    for (const auto& [block, request] : std::exchange(idle_, {})) {
      bytes += request.bytes;
      upstream_.deallocate(block, request);
    }
    reserved_bytes_ -= bytes;
    return bytes;
  }

  std::vector<std::pair<void*, Request>> idle_;
  std::map<void*, Request> lent_;
  std::size_t reserved_bytes_ = 0;
};

/// Counts what it reserves as if it had never reused a block.
class Miscounts final : public Keeps {
 public:
  using Keeps::Keeps;
  void deallocate(void* block, Request request) noexcept override {
    ++frees_;
    Keeps::deallocate(block, request);
  }
  std::size_t reserved_bytes() const override { return Keeps::reserved_bytes() + frees_ / 100; }

 private:
  std::size_t frees_ = 0;
};

/// Gives up at the first refusal, though it promises to give back what is idle and ask again.
class GivesUpEarly final : public Keeps, public Retries {
 public:
  using Keeps::Keeps;
  std::size_t attempts_max() const override { return 2; }

 protected:
  void* borrow(const Request& request) override { return upstream_.allocate(request); }
};

/// Asks once more than it promises.
class AsksTooOften final : public Keeps, public Retries {
 public:
  using Keeps::Keeps;
  std::size_t attempts_max() const override { return 1; }
};

/// Loses the thousandth block that is freed.
class LosesOne final : public Keeps {
 public:
  using Keeps::Keeps;
  void deallocate(void* block, Request request) noexcept override {
    if (++frees_ == 1000)
      lent_.erase(block);
    else
      Keeps::deallocate(block, request);
  }

 private:
  std::size_t frees_ = 0;
};

/// Asks for the whole device from the first refusal on.
class StaysGreedy final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    try {
      if (was_refused_) request.bytes = std::size_t{1} << 40;
      return upstream_.allocate(request);
    } catch (const OutOfMemory&) {
      was_refused_ = true;
      throw;
    }
  }

 private:
  bool was_refused_ = false;
};

/// Says that there is no memory, every fiftieth time, and has asked nobody.
class RefusesAtWhim final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    if (++count_ % 50 == 0) throw OutOfMemory(request, "not today");
    return PassesOn::allocate(request);
  }

 private:
  std::size_t count_ = 0;
};

/// Is told of uses on other streams, and forgets them.
class ForgetsStreams final : public Keeps, public RecordsStreams {
 public:
  using Keeps::Keeps;
  void record_stream(void*, Stream) override {}
};

/// Lends to any stream what any other freed.
class MixesStreams final : public Keeps, public RecordsStreams {
 public:
  using Keeps::Keeps;
  void record_stream(void*, Stream) override {}

 protected:
  bool serves(const Request& kept, const Request& wanted) const override { return same(kept, wanted); }
};

/// Believes that whatever is freed was lent.
class TrustsFrees final : public Keeps {
 public:
  using Keeps::Keeps;

 protected:
  void unknown(void* block, const Request& request) noexcept override { idle_.emplace_back(block, request); }
};

/// Marks a free in the first byte of a block that is lent.
class WritesToLentBlocks final : public Keeps {
 public:
  using Keeps::Keeps;
  void deallocate(void* block, Request request) noexcept override {
    Keeps::deallocate(block, request);
    for (const auto& [other, lent] : lent_)
      if (device_.memset(other, 0xEE, 1, lent.stream) == Status::success) break;
  }
};

/// Cuts blocks from the front of a slab and lists every one that was freed as it was.
class NeverMerges final : public PassesOn, public ListsFreeBlocks {
 public:
  using PassesOn::PassesOn;
  ~NeverMerges() override {
    if (slab_) upstream_.deallocate(slab_, slab());
  }
  void* allocate(Request request) override {
    if (!slab_) slab_ = upstream_.allocate(slab());
    const std::size_t start = (used_bytes_ + request.alignment - 1) / request.alignment * request.alignment;
    if (start + request.bytes > slab().bytes) throw OutOfMemory(request, "the slab is used up");
    used_bytes_ = start + request.bytes;
    void* const block = shifted(slab_, start);
    lent_[block] = request.bytes;
    return block;
  }
  void deallocate(void* block, Request) noexcept override {
    const auto found = lent_.find(block);
    if (found == lent_.end()) return;
    // Up to where the next block may begin.
    free_.push_back({reinterpret_cast<std::uintptr_t>(block), (found->second + 255) / 256 * 256, 0});
    lent_.erase(found);
  }
  std::vector<FreeBlock> free_blocks() const override { return free_; }

 private:
  static Request slab() { return {.bytes = std::size_t{64} << 20, .tag = "slab"}; }
  void* slab_ = nullptr;
  std::size_t used_bytes_ = 0;
  std::map<void*, std::size_t> lent_;
  std::vector<FreeBlock> free_;
};

}  // namespace drought
