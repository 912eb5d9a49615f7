// A scenario alive: devices, the chain of resources over each, ledger, armed faults, scheduler, record.
// It is the gate through which every call passes, in this order: a step of the scheduler, the faults, the
// ledger's judgement of the operands.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/check/record.hpp"
#include "harness/device/device.hpp"
#include "harness/fault/plan.hpp"
#include "harness/memory/buffer.hpp"
#include "harness/memory/ledger.hpp"
#include "harness/scenario/handles.hpp"
#include "harness/scenario/scenario.hpp"
#include "harness/sched/group.hpp"
#include "harness/sched/scheduler.hpp"

namespace drought {

struct RigOptions {
  Lane lane = Lane::host;
  std::uint64_t seed = 1;
};

class Rig final : private CallGate {
 public:
  /// Makes the devices and chains. Throws UserError for bad options, std::runtime_error when the lane is
  /// not there. No fault is armed yet.
  Rig(const Scenario& scenario, const Catalogues& catalogues, RigOptions options);
  ~Rig() override;

  // What workloads use.
  Device& device(int rank = 0) { return *ranks_[static_cast<std::size_t>(rank)].device; }
  /// The topmost resource of the rank's chain.
  Resource& memory(int rank = 0) { return *ranks_[static_cast<std::size_t>(rank)].accounts.back(); }
  /// The resource under a name, its allocations recorded as its own: one that stands beside the chain.
  /// Throws UserError when there is none.
  Resource& memory_named(std::string_view name, int rank = 0);
  /// The allocator under a name in the chain, for its optional interfaces; the topmost for "".
  Resource& allocator(std::string_view name = "", int rank = 0);
  int ranks() const { return static_cast<int>(ranks_.size()); }
  Scheduler& scheduler() { return scheduler_; }
  Ledger& ledger() { return ledger_; }
  Record& record() { return record_; }
  const Catalogues& catalogues() const { return catalogues_; }
  std::uint64_t seed() const { return options_.seed; }
  /// An independent stream of chance for the part of the workload called by this number.
  Random random(std::uint64_t part) const { return Random(options_.seed).split(0x3070AD ^ part); }
  bool full() const { return device_work_ == Device::Work::full; }
  /// What the ledger knew of the access that ended a context when that first showed; empty when none did.
  const std::string& fault_place() const { return fault_place_; }
  /// Calls that answered "no memory" so far: lets an attempt say why it ended, whatever was thrown.
  std::uint64_t memory_refusals() const { return memory_refusals_; }
  /// The device call that last answered "no memory".
  struct Refusal {
    std::uint64_t call = 0;  ///< As calls() counted then.
    std::size_t bytes = 0;
  };
  const Refusal& last_refusal() const { return last_refusal_; }
  /// Calls that answered another error so far; a call that gives something back is none.
  std::uint64_t other_refusals() const { return other_refusals_; }
  void decide(std::string_view what, std::uint64_t value) {
    record_.decisions.push_back(std::string(what) + "=" + std::to_string(value));
  }

  // What a run uses.
  /// Adds a scenario's fault. Throws what Plan::arm throws.
  void arm(const FaultSection& fault, bool required);
  Plan& plan() { return plan_; }
  /// Ends every fault: nothing strikes from now on, and what faults hold is given back.
  void heal() noexcept;
  std::uint64_t calls() const { return calls_; }
  /// After the last run: destroys the chains from the top and records what they failed to give back.
  void close();
  /// Hands out the record and starts an empty one: the next run on the same rig has its own.
  Record take_record();

 private:
  struct RankParts {
    std::unique_ptr<Device> device;
    std::vector<std::unique_ptr<Resource>> resources;
    std::vector<std::unique_ptr<Account>> accounts;
    std::vector<std::string> names;
  };

  void enter(Call& call) override;
  void meet_faults(Call& call);
  void leave(Call& call, Status status) noexcept override;
  /// The device of the rank that is running; the first outside any.
  Device& device_of_caller();
  static std::size_t place_of(const RankParts& parts, std::string_view name);
  RankParts make_rank(const Scenario& scenario, int rank);

  const Catalogues catalogues_;
  const RigOptions options_;
  const Device::Work device_work_;
  Record record_;
  Ledger ledger_{record_};
  Plan plan_;
  Scheduler scheduler_;
  Handles handles_;
  Random fault_random_;
  std::vector<RankParts> ranks_;
  std::uint64_t calls_ = 0, memory_refusals_ = 0, other_refusals_ = 0;
  std::string fault_place_;
  Refusal last_refusal_;
  bool quiet_ = false;  ///< A fault's own calls: no step, no judgement, no strike.
};

/// Names the phase of everything that happens while it lives.
class Phase {
 public:
  Phase(Rig& rig, Tag phase) : rig_(rig), before_(rig.ledger().phase()) { rig_.ledger().set_phase(phase); }
  ~Phase() { rig_.ledger().set_phase(before_); }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;

 private:
  Rig& rig_;
  const Tag before_;
};

/// One try of something that promises a bounded number of tries. Unless succeeded() was called it ends
/// as what the calls inside it answered, not as what an exception is called.
class AttemptScope {
 public:
  AttemptScope(Rig& rig, Attempt attempt)
      : rig_(rig),
        refusals_(rig.memory_refusals()),
        other_refusals_(rig.other_refusals()),
        deaths_(rig.scheduler().deaths()),
        index_(rig.record().begin_attempt(std::move(attempt))) {}
  ~AttemptScope() {
    if (ended_) return;
    const bool failed_otherwise = failed_otherwise_ || rig_.scheduler().deaths() != deaths_;
    const bool no_memory = rig_.memory_refusals() != refusals_ && !failed_otherwise;
    rig_.record().end_attempt(index_, no_memory ? Attempt::End::out_of_memory : Attempt::End::other_error);
  }
  void succeeded() {
    ended_ = true;
    rig_.record().end_attempt(index_, Attempt::End::succeeded);
  }
  /// Memory may have run out too (on another rank, say), but what ends the attempt is another error. Believed
  /// only where a call has answered one meanwhile.
  void failed_otherwise() { failed_otherwise_ = rig_.other_refusals() != other_refusals_; }
  AttemptScope(const AttemptScope&) = delete;
  AttemptScope& operator=(const AttemptScope&) = delete;

 private:
  Rig& rig_;
  const std::uint64_t refusals_, other_refusals_, deaths_;
  const std::size_t index_;
  bool ended_ = false, failed_otherwise_ = false;
};

}  // namespace drought
