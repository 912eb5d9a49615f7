// Runs simulated processes, one fiber each, in an order that a seed or a list decides. Every device, resource
// and launch call is a step, at which another process may get its turn; the count of steps is the virtual
// clock. There is no other time and no other concurrency, so a run replays from its seed.
//
// A run that cannot go on is hung: nobody is runnable, or the steps are spent. The waiting processes are
// then unwound with Hung, so that what they own is given back and the report can say who waits for what.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/sched/fiber.hpp"
#include "harness/sched/random.hpp"

namespace drought {

/// Thrown into a process of a run that is hung. Nobody but the scheduler catches it for good.
class Hung : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A process ended under others that wait for it.
class ProcessLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Scheduler {
 public:
  struct Options {
    std::uint64_t seed = 1;
    std::uint64_t steps_max = 10'000'000;
    std::size_t stack_bytes = 512 << 10;
    /// Given: a process goes on until it waits, ends, or takes a step with one of these numbers (ascending);
    /// then the next in the order of spawning has its turn. So an interleaving is a list, which shrinks.
    std::optional<std::vector<std::uint64_t>> switches;
  };
  explicit Scheduler(Options options)
      : options_(std::move(options)), random_(Random(options_.seed).split(0x5C4ED)) {}

  /// Adds a process. `rank` is what triggers and groups know it by; -1 for none.
  void spawn(std::string name, int rank, std::function<void()> body);
  /// Runs until every process has ended. Rethrows the first exception that one let escape, Hung aside.
  void run();
  /// Runs the bodies as processes beside the calling one, which waits for them all; rethrows the first
  /// exception that one let escape. Call from inside a process.
  void run_beside(const std::string& name, int count, const std::function<void(int rank)>& body);

  /// One step of the calling process. Throws Hung when the steps are spent and `may_throw`.
  void step(bool may_throw);
  /// From here to the end the calling process gives memory back, which never throws: whatever would unwind
  /// it waits. Nests.
  void begin_freeing();
  void end_freeing();
  /// Lets others run until `ready`. `why` is what the report says when it never is. Throws Hung.
  void wait_until(const std::string& why, const std::function<bool()>& ready);
  /// Lets `steps` of virtual time pass for the calling process.
  void sleep(std::uint64_t steps);

  /// Ends the calling process here, as kill -9 would: what it owns is given back, as a driver does with the
  /// memory of a dead process, and nobody hears of it but who asks. Returns only to one that is freeing,
  /// which ends at the first step after.
  void die();
  /// The process of this rank that was killed since run() began; "" when none was.
  std::string killed(int rank) const;

  std::uint64_t now() const { return steps_; }
  /// Of the process that runs; -1 outside any.
  int rank() const { return running_ ? running_->rank : -1; }
  /// Its name; "" outside any.
  std::string_view process() const {
    return running_ ? std::string_view(running_->name) : std::string_view();
  }
  bool inside() const { return running_ != nullptr; }
  bool hung() const { return !hung_.empty(); }
  /// Who waits for what.
  const std::string& hung_text() const { return hung_; }

 private:
  struct Process {
    std::string name;
    int rank = -1;
    std::unique_ptr<Fiber> fiber;
    std::function<bool()> ready;  ///< Empty: runnable.
    std::string waits_for;
    std::exception_ptr escaped;
    bool killed = false, mourned = false;  ///< Mourned: whoever started it was told.
    bool doomed = false;                   ///< It dies when it has done freeing.
    int freeing = 0;                       ///< Frees in one another.
  };
  /// Unwinds a process that is killed; no std::exception, so that what handles errors lets it pass.
  struct Killed {};

  std::vector<Process*> runnable();
  /// Whose turn it is.
  Process& choose(const std::vector<Process*>& able);
  bool switches_now();
  void resume(Process& process);
  void declare_hung(const std::string& why);
  void unwind();
  void give_way(bool may_throw);

  const Options options_;
  Random random_;
  std::vector<std::unique_ptr<Process>> processes_;
  Process* running_ = nullptr;
  const Process* last_ = nullptr;  ///< Who ran last, of a listed order.
  std::uint64_t steps_ = 0, unwind_last_ = 0;
  bool unwinding_ = false;
  std::string hung_;
};

}  // namespace drought
