// The record of every allocation: id, bytes, tag, phase, call site, generation, leases. The one place
// that can say "who still holds this", and the judge of every declared operand.
//
// Each link of a chain of resources is wrapped in an Account, so that what an allocator borrows and
// what it lends are both known, each block at the address it has. That alone shows overlap, a free of
// the wrong size, a block handed out after its memory went back, memory returned while something in it
// still lives, and how often an allocator that promised a number of tries asks below, at the call and
// without the allocator's help.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/check/record.hpp"
#include "harness/device/call.hpp"
#include "harness/memory/access_order.hpp"
#include "harness/memory/graph_uses.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/memory/span_map.hpp"

namespace drought {

class Device;
class FallsBack;
class Ledger;

struct Allocation {
  std::uint64_t id = 0;  ///< Counts every allocation of the run from 1.
  std::uintptr_t begin = 0;
  Request request;
  Tag phase;                     ///< The phase in which it was made.
  std::uint64_t generation = 0;  ///< The ledger's generation when it was made.
  bool owned = true;             ///< Its owner has not let go.
  std::vector<std::string> leases;
  std::uintptr_t end() const { return begin + request.bytes; }
};

/// One link of a chain: a resource, and everything it has lent and not taken back.
class Account final : public Resource, private GuardsBlocks::Listener {
 public:
  /// `below`: the account this resource borrows from, or null for one over the device.
  Account(Ledger& ledger, std::string name, Resource& resource, Device& device, Account* below);
  ~Account() override;

  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;
  void releasing(const std::shared_ptr<Block>& block) noexcept override;
  void lease_changed(void* data, std::string_view holder, bool begins) noexcept override;

  const std::string& name() const { return name_; }
  Resource& resource() { return resource_; }
  const Account* below() const { return below_; }
  const std::map<std::uintptr_t, Allocation>& live() const { return live_; }
  std::size_t live_bytes() const { return live_bytes_; }
  /// The live allocation that `address` lies in, or null.
  const Allocation* containing(std::uintptr_t address) const;

 private:
  friend class Ledger;
  void* lend(const Request& request);
  void looked_at_block(std::string_view damage) override;
  void could_not_look(std::string_view why) override;
  void begin_try(std::size_t bytes);
  void end_try(Attempt::End end);
  void admit(void* block, const Request& request);
  std::string called(const Allocation& allocation) const;

  Ledger& ledger_;
  const std::string name_;
  Resource& resource_;
  Device& device_;
  Account* const below_;
  Account* above_ = nullptr;
  /// What the resource promised as Retries; 0: nothing, and its tries are not recorded.
  const std::size_t tries_max_;
  FallsBack* const falls_back_;  ///< The resource, where it does.
  bool grows_ = false;           ///< Inside allocate(): what it asks for below is a try.
  std::size_t refusals_ = 0;     ///< In a row, of this allocate().
  std::size_t last_try_ = 0;     ///< Index of the attempt, where there was one.
  std::map<std::uintptr_t, Allocation> live_;
  std::size_t live_bytes_ = 0;
};

class Ledger {
 public:
  explicit Ledger(Record& record) : record_(record) {}

  /// Refuses a stale, foreign, unspanned or undersized operand: records the violation and sets
  /// call.refused. Notes the order of the call's accesses. Call once for every call, before it is made.
  void judge(Call& call);
  /// What the call, if it was made, now orders.
  void completed(const Call& call);

  void set_phase(Tag phase) { phase_ = phase; }
  Tag phase() const { return phase_; }
  /// Allocations made from now on belong to the next generation.
  void begin_generation() { ++generation_; }
  std::uint64_t generation() const { return generation_; }

  /// What is known of an access that ended a context: which block `address` lies in or beside, where it is
  /// known, and the operands of undeclared launches that no live block held. Ask while the blocks live.
  std::string explain_fault(const void* address) const;

  /// Live allocations that workloads hold (of the topmost accounts), the oldest first.
  std::vector<Survivor> survivors(std::span<const Tag> tags) const;
  /// Records that nothing with these tags may live any more, and answers what does.
  std::vector<Survivor> mark_teardown(std::vector<Tag> tags);
  /// Records what is live now as live at the end, and host memory that is still registered.
  void mark_end();

  /// Makes or replaces the map known under `map.name`; its id is set and answered.
  std::uint64_t declare_map(SpanMap map);
  void forget_map(std::string_view name);
  const SpanMap* map_named(std::string_view name) const;
  /// Host or device memory outside every chain that kernels may use: a registered range, a probe's.
  void declare_range(std::string name, const void* data, std::size_t bytes);
  void forget_range(const void* data);

  /// Whether the device has memory mapped at each of [begin, end), which is as good as borrowed.
  bool is_mapped(std::uintptr_t begin, std::uintptr_t end) const;
  std::size_t mapped_bytes() const { return mapped_bytes_; }
  /// Bytes that workloads hold now.
  std::size_t live_bytes() const { return live_bytes_; }
  Record& record() { return record_; }
  const std::vector<Account*>& accounts() const { return accounts_; }
  /// The order clocks start again (the device came to rest).
  void forget_order() { order_.forget(); }

 private:
  friend class Account;
  /// One cache line, for one is written at every free.
  struct Freed {
    std::uintptr_t begin = 0, end = 0;
    std::uint64_t id = 0;
    Tag tag, phase;
    CallSite lent_at, freed_at;
  };
  struct NamedRange {
    std::string name;
    std::size_t bytes = 0;
  };

  void bury(const Allocation& allocation, const Request& freed_by);
  /// Registering pins pages, so it is a touch of every page: a map's pages outside its spans are a
  /// violation. The call is made all the same.
  void judge_registration(const Call& call);
  /// Unmapping memory in which something still lives is a violation.
  void note_mapping(const Call& call);
  void update_peak();
  void suspect(const Call& launch);
  std::string place_of(std::uintptr_t address) const;
  /// What is wrong with an operand and which check minds; an empty text when it may be used.
  struct Objection {
    std::string text;
    std::string_view check = "no_stale_operand";
    bool foreign = false;  ///< Nothing is known about the address.
  };
  Objection objection_to(const Operand& operand) const;
  const Freed* freed_around(std::uintptr_t begin) const;
  /// "at file:line"; a buffer that left its scope knows only where it came from.
  std::string how_freed(const Freed& freed) const;
  Survivor survivor(const Allocation& allocation) const;

  Record& record_;
  std::vector<Account*> accounts_;
  AccessOrder order_;
  GraphUses graph_uses_;
  std::vector<Freed> graveyard_;  ///< A ring of the last 4096 blocks, for naming a stale operand.
  std::uint64_t buried_ = 0;
  std::size_t live_bytes_ = 0;                          ///< Of the topmost accounts.
  std::map<std::size_t, std::string> used_when_freed_;  ///< Graphs that used a block, by its grave.
  std::deque<std::string> suspects_;  ///< The last 8 operands that only an undeclared launch could use.
  std::vector<SpanMap> maps_;
  std::map<std::uintptr_t, NamedRange> ranges_;
  std::map<std::uintptr_t, std::size_t> mapped_;  ///< By cuMemMap.
  std::size_t mapped_bytes_ = 0;
  std::map<const void*, std::size_t> registered_;  ///< Host memory registered and not yet unregistered.
  Tag phase_;
  std::uint64_t generation_ = 1, next_id_ = 1, next_map_id_ = 1;
};

}  // namespace drought
