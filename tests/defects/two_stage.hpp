// Lends each block together with a descriptor that the device reads, so that one request borrows twice, and
// keeps both for the next request of the size. The first of two is what an error path forgets.
#pragma once

#include <map>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/resource.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class TwoStage final : public Resource {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"first_of_two_leaked", "keeps the descriptor when the block is refused", "leaked"},
      {"unwound_twice", "gives the descriptor back where it is caught and where it is owned", "leaked"},
      {"unwound_by_the_wrong_size", "gives the descriptor back under the block's size", "leaked"},
      {"refusal_becomes_null", "answers a refusal with a null block", "leaked"},
      {"count_not_rolled_back", "counts a refused block against its cap for ever", "failed"},
      {"kept_pair_lent_twice", "keeps a pair once more when its descriptor cannot be filled", "leaked"},
  };

  TwoStage(Resource& upstream, Device& device, Options options)
      : upstream_(upstream), device_(device), planted_(std::move(options)) {}
  ~TwoStage() override {
    for (const Pair& pair : idle_) give_back(pair);
  }

  void* allocate(Request request) override {
    const Pair pair = take_idle(request) ? reuse(request) : borrow(request);
    lent_[pair.block] = pair;
    return pair.block;
  }

  void deallocate(void* block, Request) noexcept override {
    const auto found = lent_.find(block);
    if (found == lent_.end()) return;
    idle_.push_back(found->second);
    lent_.erase(found);
  }

 private:
  struct Pair {
    void* descriptor = nullptr;
    void* block = nullptr;
    Request request;
  };
  static constexpr std::size_t kBytesMax = 400_KiB;
  static constexpr Request kDescriptor{.bytes = 256, .tag = {}};

  /// Brings an idle pair for the request to the back.
  bool take_idle(const Request& request) {
    for (Pair& pair : idle_) {
      if (pair.request.bytes != request.bytes || pair.request.stream != request.stream) continue;
      std::swap(pair, idle_.back());
      return true;
    }
    return false;
  }

  Pair reuse(const Request&) {
    const Pair pair = idle_.back();
    idle_.pop_back();
    if (const Status status = fill(pair.descriptor, pair.request.stream); status != Status::success) {
      idle_.push_back(pair);
      if (planted_("kept_pair_lent_twice")) idle_.push_back(pair);
      throw DeviceError(status, "cudaMemset");
    }
    return pair;
  }

  Pair borrow(const Request& request) {
    if (reserved_bytes_ + request.bytes > kBytesMax) throw OutOfMemory(request, "above the cap");
    if (planted_("count_not_rolled_back")) reserved_bytes_ += request.bytes;
    Pair pair{upstream_.allocate(kDescriptor), nullptr, request};
    try {
      pair.block = upstream_.allocate(request);
    } catch (const OutOfMemory&) {
      if (planted_("refusal_becomes_null")) return give_back_descriptor(pair), pair;
      if (!planted_("first_of_two_leaked")) give_back_descriptor(pair);
      if (planted_("unwound_twice")) give_back_descriptor(pair);
      throw;
    }
    if (!planted_("count_not_rolled_back")) reserved_bytes_ += request.bytes;
    if (const Status status = fill(pair.descriptor, request.stream); status != Status::success) {
      give_back(pair);
      throw DeviceError(status, "cudaMemset");
    }
    return pair;
  }

  // The descriptor is nobody's buffer, so nobody has to be asked whether it may be filled.
  Status fill(void* descriptor, Stream stream) {
    return device_.memset(descriptor, 1, kDescriptor.bytes, stream, Judged::no);
  }
  void give_back_descriptor(const Pair& pair) noexcept {
    Request request = kDescriptor;
    if (planted_("unwound_by_the_wrong_size")) request.bytes = pair.request.bytes;
    upstream_.deallocate(pair.descriptor, request);
  }
  void give_back(const Pair& pair) noexcept {
    reserved_bytes_ -= pair.request.bytes;
    upstream_.deallocate(pair.descriptor, kDescriptor);
    upstream_.deallocate(pair.block, pair.request);
  }

  Resource& upstream_;
  Device& device_;
  const Planted planted_;
  std::size_t reserved_bytes_ = 0;
  std::vector<Pair> idle_;
  std::map<void*, Pair> lent_;
};

}  // namespace drought
