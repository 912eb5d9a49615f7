// What every allocator must keep, as claims that can be asked of any catalogue entry: so the same code
// judges the shipped allocators and the broken ones that prove that it bites. A claim answers in words
// what is wrong, and nothing when it holds.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/gtest/armed_rig.hpp"
#include "harness/memory/interfaces.hpp"

namespace drought {

struct Claim {
  std::string_view name;
  /// What is wrong with the allocator; empty when the claim holds.
  std::string (*mistake)(const AllocatorEntry& entry, std::uint64_t seed, Lane lane);
  /// Whether an allocator of this kind makes the promise at all: by its interfaces, never by its name.
  bool (*promised)(Resource& allocator);
};

std::span<const Claim> conformance_claims();

/// Makes an allocator with its defaults; one whose capacity must be given gets 64 GiB, which no test
/// reaches.
std::unique_ptr<Resource> make_allocator(const AllocatorEntry& entry, Resource* upstream, Device& device);

/// One allocator over `direct`, or over the device when it takes no upstream, on an 80 GB device in
/// shapes mode, with a second stream. Nothing is lent before start(), so that a fault armed by then also
/// strikes what the allocator borrows while it is made.
class ChainRig {
 public:
  explicit ChainRig(const AllocatorEntry& entry, std::uint64_t seed, Lane lane = Lane::host);
  ~ChainRig() { (void)end(); }

  /// Arms `kind` on one call (`forever`: and on all later ones of its site).
  void arm(std::string_view kind, const FaultPoint& point, bool forever) {
    rig_.arm_at(point, forever, kind);
  }
  std::uint64_t struck() const { return rig_.struck(); }
  /// Makes the allocator unless it is made. Throws what its constructor throws.
  void start();
  /// Ends the chain and answers what it failed to give back, or the first violation of the whole run.
  std::string end();

  // Of a started chain.
  Rig& rig() { return *rig_.operator->(); }
  Resource& memory() { return rig_.memory(); }
  Resource& allocator() { return *allocator_; }
  const Account& account() const { return rig_.account(); }
  /// Null when the allocator keeps nothing.
  Trims* trims() { return dynamic_cast<Trims*>(allocator_); }
  Stream stream(std::size_t i) const { return i % 2 == 0 ? Stream{} : second_; }
  /// The largest request that the allocator serves; 2^62 unless it says less.
  std::size_t request_bytes_max() const {
    const auto* const least = dynamic_cast<const LendsUpTo*>(allocator_);
    return least ? least->request_bytes_max() : std::size_t{1} << 62;
  }
  /// Bytes that the allocator has borrowed and not given back.
  std::size_t borrowed_bytes();
  std::string first_violation() const;

 private:
  const AllocatorEntry entry_;
  ArmedRig rig_;
  Resource* allocator_ = nullptr;
  Stream second_;
};

/// Holds blocks of a chain beside a model of what must be true of them.
class Tenant {
 public:
  /// Starts the chain, and throws what that throws.
  explicit Tenant(ChainRig& chain) : chain_(chain) { chain.start(); }
  ~Tenant() { free_all(); }

  /// Throws what the allocator throws. `mistake()` says what was wrong with an answer. An allocator that
  /// lends up to a size only is asked for no more than that.
  void allocate(Request request);
  /// Frees the `which`th live block, modulo their number; nothing when none lives.
  void free(std::size_t which);
  void free_all();
  std::size_t live_bytes() const { return live_bytes_; }
  std::size_t asked_bytes() const { return asked_bytes_; }
  std::size_t blocks() const { return live_.size(); }
  /// The first thing that was wrong; empty so far.
  const std::string& mistake() const { return mistake_; }

 private:
  void note(std::string what) {
    if (mistake_.empty()) mistake_ = std::move(what);
  }

  ChainRig& chain_;
  std::map<std::uintptr_t, Request> live_;
  std::size_t live_bytes_ = 0, asked_bytes_ = 0;
  std::string mistake_;
};

/// Every allocator lends at least this much in all, however its blocks are freed in between.
inline constexpr std::size_t kLentAtLeast = 40_MiB;

}  // namespace drought
