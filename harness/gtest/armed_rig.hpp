// A rig in a test: a device, a chain of resources and faults, written as a scenario writes them and armed
// from the start, with the test's own allocators on top. The test itself is the workload.
//
//   ArmedRig rig("[device]\nprofile = 'h100-80g'");
//   rig.arm("out_of_memory", {.site = "cudaMalloc", .nth = 2});
//   SlabPool& pool = rig.with<SlabPool>("slab_pool", SlabPool::Options{});
//   const Buffer block(rig.memory(), {.bytes = 1_MiB, .tag = "kv"});
//
// A mistake in the text or in a trigger throws UserError, one line that begins with the place in the test.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/scenario/rig.hpp"

namespace drought {

class ArmedRig {
 public:
  /// `toml`: the sections [device], [[resource]] and [[fault]] of a scenario, each as there; none is needed.
  explicit ArmedRig(std::string_view toml = {}, RigOptions options = {}, CallSite at = CallSite::here());
  /// Ends the rig. Fails the test when a fault that had to strike never did.
  ~ArmedRig();
  ArmedRig(const ArmedRig&) = delete;
  ArmedRig& operator=(const ArmedRig&) = delete;

  /// A kind of the catalogue. Throws UserError that lists them for an unknown one.
  static const FaultEntry& fault_named(std::string_view kind, CallSite at = CallSite::here());
  /// Arms a fault of the catalogue, which must strike before the rig ends.
  void arm(std::string_view kind, Trigger::Options when, CallSite at = CallSite::here());
  /// The same with a fault of the test's own.
  void arm(std::string kind, std::unique_ptr<Fault> fault, Trigger::Options when,
           CallSite at = CallSite::here());
  /// Arms one at one call or, `forever`, there and at all like it from there on. It need not strike.
  void arm_at(const FaultPoint& point, bool forever, std::string_view kind, CallSite at = CallSite::here());
  /// No fault that is armed by now needs to strike.
  void excuse_faults() { excused_ = rig_->plan().armed().size(); }

  /// What an allocator of the test's own borrows from.
  enum class Over : std::uint8_t { chain, device };
  using Maker = std::function<std::unique_ptr<Resource>(Resource* upstream, Device& device)>;
  /// The test's own allocator under `name`, on top of the chain from now on, each block that it borrows and
  /// lends on record. One that is there already is answered as it is: a body that runs again after a failure
  /// goes on with the allocator that failed. Throws what `make` throws.
  Resource& with(const std::string& name, const Maker& make, Over over);
  /// The same, made as Allocator(Resource& upstream, arguments…).
  template <typename Allocator, typename... Arguments>
  Allocator& with(const std::string& name, Arguments&&... arguments) {
    const Maker make = [&](Resource* upstream, Device&) -> std::unique_ptr<Resource> {
      return std::make_unique<Allocator>(*upstream, std::forward<Arguments>(arguments)...);
    };
    return static_cast<Allocator&>(with(name, make, Over::chain));
  }

  /// The topmost resource, its blocks on record: what a test allocates from.
  Resource& memory() { return top(); }
  const Account& account() const { return top(); }
  Device& device() { return rig_->device(); }
  /// As cudaMemGetInfo answers.
  std::size_t free_bytes();
  Rig* operator->() { return rig_.get(); }
  Ledger& ledger() const { return rig_->ledger(); }
  Record& record() const { return rig_->record(); }
  /// The blocks that the test holds now, the oldest first.
  std::vector<Survivor> held() const;
  /// How often all armed faults have struck.
  std::uint64_t struck() const;

  /// Ends the faults and then every allocator, from the top; what was not given back is on record after.
  void end();
  /// The first check of those that `checks`, a glob, names that the record fails: "accounting: live at the
  /// end: …"; empty when all hold.
  std::string complaint(std::string_view checks = "*", const Outcome& outcome = {}) const;

 private:
  struct Own {
    std::string name;
    std::unique_ptr<Resource> allocator;
    std::unique_ptr<Account> account;
  };
  Account& top() const;

  const CallSite at_;
  std::unique_ptr<Rig> rig_;
  std::vector<Own> own_;
  std::size_t excused_ = 0;
  bool ended_ = false;
};

/// "a rig whose test holds 6.00 MiB": for GoogleTest's messages.
void PrintTo(const ArmedRig& rig, std::ostream* out);

}  // namespace drought
