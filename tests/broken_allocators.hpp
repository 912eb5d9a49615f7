// Allocators with one defect each, which prove that the conformance suite bites: every claim has at
// least one here that breaks it. Each is the thinnest possible layer over its upstream, so that nothing
// but its defect can be what is found.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "harness/memory/interfaces.hpp"
#include "harness/scenario/catalogues.hpp"

namespace drought {

/// Passes everything on. Sound; the defects derive from it.
class PassesOn : public Resource {
 public:
  PassesOn(Resource& upstream, Device& device) : upstream_(upstream), device_(device) {}
  void* allocate(Request request) override { return upstream_.allocate(request); }
  void deallocate(void* block, Request request) noexcept override { upstream_.deallocate(block, request); }

 protected:
  static void* shifted(void* block, std::size_t bytes) { return static_cast<std::byte*>(block) + bytes; }
  Resource& upstream_;
  Device& device_;
};

class Misaligns final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    request.bytes += 64;
    return shifted(upstream_.allocate(request), 64);
  }
  void deallocate(void* block, Request request) noexcept override {
    request.bytes += 64;
    upstream_.deallocate(static_cast<std::byte*>(block) - 64, request);
  }
};

/// Every second block begins inside the one before it.
class Overlaps final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    if (last_ && last_request_.bytes > 512) {
      void* const inside = shifted(last_, 256);
      last_ = nullptr;
      return inside;
    }
    last_request_ = request;
    real_[last_ = upstream_.allocate(request)] = request;
    return last_;
  }
  void deallocate(void* block, Request) noexcept override {
    const auto found = real_.find(block);
    if (found == real_.end()) return;
    if (last_ == block) last_ = nullptr;
    upstream_.deallocate(block, found->second);
    real_.erase(found);
  }

 private:
  std::map<void*, Request> real_;
  void* last_ = nullptr;
  Request last_request_;
};

/// Borrows less than it lends.
class LendsTooMuch final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override { return upstream_.allocate(less(request)); }
  void deallocate(void* block, Request request) noexcept override {
    upstream_.deallocate(block, less(request));
  }

 private:
  static Request less(Request request) {
    request.bytes = (request.bytes + 1) / 2;
    return request;
  }
};

/// Gives every tenth block's memory back while it is lent.
class FreesUnderItsTenant final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    void* const block = upstream_.allocate(request);
    if (++count_ % 10 == 0) {
      upstream_.deallocate(block, request);
      gone_.push_back(block);
    }
    return block;
  }
  void deallocate(void* block, Request request) noexcept override {
    if (std::erase(gone_, block) == 0) upstream_.deallocate(block, request);
  }

 private:
  std::vector<void*> gone_;
  std::size_t count_ = 0;
};

/// Keeps every fifth block that is freed for ever.
class Leaks final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void deallocate(void* block, Request request) noexcept override {
    if (++count_ % 5 != 0) upstream_.deallocate(block, request);
  }

 private:
  std::size_t count_ = 0;
};

/// Gives back with another size than it borrowed.
class ForgetsSizes final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void deallocate(void* block, Request request) noexcept override {
    request.bytes += 1;
    upstream_.deallocate(block, request);
  }
};

class LendsNothing final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    request.bytes = std::max<std::size_t>(request.bytes, 1);
    return upstream_.allocate(request);
  }
};

/// Decides by state that outlives the run.
class Wavers final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  ~Wavers() override {
    if (ballast_) upstream_.deallocate(ballast_, request());
    runs() += 1;
  }
  void* allocate(Request wanted) override {
    if (!ballast_) ballast_ = upstream_.allocate(request());
    return upstream_.allocate(wanted);
  }

 private:
  static std::size_t& runs() {
    static std::size_t count = 0;
    return count;
  }
  Request request() const { return {.bytes = (1 + runs() % 2) * (std::size_t{32} << 20), .tag = "ballast"}; }
  void* ballast_ = nullptr;
};

/// Keeps what is freed, but borrows all the same.
class Hoards : public PassesOn, public Trims {
 public:
  using PassesOn::PassesOn;
  ~Hoards() override { give_back_all(); }
  void* allocate(Request request) override {
    void* const block = upstream_.allocate(request);
    reserved_ += request.bytes;
    return block;
  }
  void deallocate(void* block, Request request) noexcept override { idle_.emplace_back(block, request); }
  std::size_t trim() override { return give_back_all(); }
  std::size_t reserved_bytes() const override { return reserved_; }

 protected:
  std::size_t give_back_all() {
    std::size_t bytes = 0;
    for (const auto& [block, request] : idle_) {
      upstream_.deallocate(block, request);
      bytes += request.bytes;
    }
    idle_.clear();
    reserved_ -= bytes;
    return bytes;
  }

 private:
  std::vector<std::pair<void*, Request>> idle_;
  std::size_t reserved_ = 0;
};

class TrimsNothing final : public Hoards {
 public:
  using Hoards::Hoards;
  std::size_t trim() override { return 0; }
};

/// Answers a lack of memory with an address out of thin air.
class IgnoresRefusals final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    try {
      return upstream_.allocate(request);
    } catch (const OutOfMemory&) {
      invented_ += std::size_t{1} << 30;
      return reinterpret_cast<void*>(invented_);
    }
  }
  void deallocate(void* block, Request request) noexcept override {
    if (reinterpret_cast<std::uintptr_t>(block) > std::uintptr_t{1} << 40)
      upstream_.deallocate(block, request);
  }

 private:
  std::uintptr_t invented_ = std::size_t{1} << 30;
};

/// Borrows a header beside each block, and loses it when the block itself is refused.
class LeaksWhenRefused final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    void* const header = upstream_.allocate(header_request());
    void* const block = upstream_.allocate(request);
    headers_[block] = header;
    return block;
  }
  void deallocate(void* block, Request request) noexcept override {
    const auto header = headers_.find(block);
    if (header == headers_.end()) return;
    upstream_.deallocate(header->second, header_request());
    headers_.erase(header);
    upstream_.deallocate(block, request);
  }

 private:
  static Request header_request() { return {.bytes = 256, .tag = "header"}; }
  std::map<void*, void*> headers_;
};

/// Never lends again once it was refused.
class NeverRecovers final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override {
    if (refused_) throw OutOfMemory(request, "it was refused once");
    try {
      return upstream_.allocate(request);
    } catch (const OutOfMemory&) {
      refused_ = true;
      throw;
    }
  }

 private:
  bool refused_ = false;
};

/// Answers a lack of memory with an exception of its own.
class RenamesRefusals final : public PassesOn {
 public:
  using PassesOn::PassesOn;
  void* allocate(Request request) override try {
    return upstream_.allocate(request);
  } catch (const OutOfMemory& error) {
    throw std::runtime_error(error.what());
  }
};

/// The catalogue line of one of the above.
template <typename Made>
constexpr AllocatorEntry broken(std::string_view name) {
  return {name, "broken on purpose",
          [](const Table&, Resource* upstream, Device& device) -> std::unique_ptr<Resource> {
            return std::make_unique<Made>(*upstream, device);
          }};
}

}  // namespace drought
