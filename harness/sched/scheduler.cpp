#include "harness/sched/scheduler.hpp"

#include <algorithm>

namespace drought {
namespace {

// Steps that an unwinding process may still take before it is given up where it stands: a body that
// catches everything and tries again for ever would otherwise outlive the verdict.
constexpr std::uint64_t kUnwindSteps = 100'000;

}  // namespace

void Scheduler::spawn(std::string name, int rank, std::function<void()> body) {
  auto process = std::make_unique<Process>();
  Process* const made = process.get();
  made->name = std::move(name);
  made->rank = rank;
  made->fiber = std::make_unique<Fiber>(FiberOptions{.stack_bytes = options_.stack_bytes},
                                        [made, body = std::move(body)] {
                                          try {
                                            body();
                                            made->killed = made->doomed;
                                          } catch (const Killed&) {
                                            made->killed = true;
                                          } catch (...) {
                                            made->escaped = std::current_exception();
                                          }
                                        });
  processes_.push_back(std::move(process));
}

std::vector<Scheduler::Process*> Scheduler::runnable() {
  std::vector<Process*> able;
  for (const auto& process : processes_) {
    if (process->fiber->finished()) continue;
    if (process->ready && !unwinding_ && !process->ready()) continue;
    able.push_back(process.get());
  }
  return able;
}

Scheduler::Process& Scheduler::choose(const std::vector<Process*>& able) {
  if (!options_.switches) return *able[random_.below(able.size())];
  const auto place = [&](const Process* process) {
    return std::find_if(processes_.begin(), processes_.end(),
                        [&](const auto& known) { return known.get() == process; });
  };
  const auto last = place(last_);
  for (Process* const process : able)
    if (last == processes_.end() || place(process) > last) return *process;
  return *able.front();
}

/// Whether the running process gives way at this step.
bool Scheduler::switches_now() {
  if (!options_.switches) return random_.below(2) == 0;
  return std::binary_search(options_.switches->begin(), options_.switches->end(), steps_);
}

void Scheduler::resume(Process& process) {
  process.ready = nullptr;
  running_ = &process;
  last_ = &process;
  process.fiber->resume();
  running_ = nullptr;
}

void Scheduler::declare_hung(const std::string& why) {
  if (hung()) return;
  hung_ = why;
  for (const auto& process : processes_)
    if (!process->fiber->finished())
      hung_ += "; " + process->name +
               (process->waits_for.empty() ? " was running" : " waits for " + process->waits_for);
}

void Scheduler::unwind() {
  unwinding_ = true;
  unwind_last_ = steps_ + kUnwindSteps;
  // The newest first, to its end: what a process owns, those that it started may still be using.
  for (std::vector<Process*> left = runnable(); !left.empty(); left = runnable()) {
    Process& newest = *left.back();
    if (steps_ < unwind_last_) {
      resume(newest);
    } else {
      newest.fiber->abandon();
    }
    ++steps_;
  }
}

void Scheduler::run() {
  for (;;) {
    const std::vector<Process*> able = runnable();
    if (able.empty()) break;
    resume(choose(able));
    if (hung()) break;
  }
  const bool all_ended = std::all_of(processes_.begin(), processes_.end(),
                                     [](const auto& process) { return process->fiber->finished(); });
  if (!all_ended) {
    declare_hung("nobody can go on");
    unwind();
  }
  std::exception_ptr first;
  for (const auto& process : processes_) {
    if (process->escaped && !first && !hung()) first = process->escaped;
    if (process->killed && !process->mourned && !first && !hung())
      first = std::make_exception_ptr(ProcessLost("process '" + process->name + "' was killed"));
  }
  processes_.clear();
  last_ = nullptr;
  unwinding_ = false;
  if (first) std::rethrow_exception(first);
}

void Scheduler::run_beside(const std::string& name, int count, const std::function<void(int)>& body) {
  std::vector<Process*> made;
  for (int rank = 0; rank < count; ++rank) {
    spawn(name + " " + std::to_string(rank), rank, [&body, rank] { body(rank); });
    made.push_back(processes_.back().get());
  }
  wait_until("its ranks", [&made] {
    return std::all_of(made.begin(), made.end(),
                       [](const Process* process) { return process->fiber->finished(); });
  });
  std::exception_ptr first;
  for (Process* process : made) {
    if (process->escaped && !first) first = process->escaped;
    process->escaped = nullptr;
    process->mourned = process->killed;
  }
  for (Process* process : made)
    if (process->killed && !first)
      first = std::make_exception_ptr(ProcessLost("process '" + process->name + "' was killed"));
  if (first) std::rethrow_exception(first);
}

void Scheduler::give_way(bool may_throw) {
  Process* const self = running_;
  Fiber::suspend();
  self->waits_for.clear();
  if (unwinding_ && may_throw) throw Hung(hung_);
}

void Scheduler::step(bool may_throw) {
  ++steps_;
  if (!running_) return;
  may_throw = may_throw && running_->freeing == 0;
  if (may_throw && running_->doomed) throw Killed{};
  if (unwinding_) {
    if (steps_ >= unwind_last_) Fiber::suspend();  // Given up here: it is never resumed.
    if (may_throw) throw Hung(hung_);
    return;
  }
  if (steps_ > options_.steps_max) {
    declare_hung("steps_max of " + std::to_string(options_.steps_max) + " is spent");
    give_way(may_throw);
    return;
  }
  if (processes_.size() == 1) return;
  if (switches_now()) give_way(may_throw);
}

void Scheduler::wait_until(const std::string& why, const std::function<bool()>& ready) {
  if (!running_) {
    if (!ready()) throw std::logic_error("wait_until outside any process: " + why);
    return;
  }
  while (!ready()) {
    running_->ready = ready;
    running_->waits_for = why;
    give_way(true);
  }
}

void Scheduler::begin_freeing() {
  if (running_) ++running_->freeing;
}

void Scheduler::end_freeing() {
  if (running_) --running_->freeing;
}

void Scheduler::die() {
  if (!running_) throw std::logic_error("a process is killed outside any");
  if (running_->freeing == 0) throw Killed{};
  running_->doomed = true;
}

std::string Scheduler::killed(int rank) const {
  for (const auto& process : processes_)
    if (process->killed && process->rank == rank) return process->name;
  return {};
}

void Scheduler::sleep(std::uint64_t steps) {
  // A sleeper alone moves the clock itself; otherwise nobody would.
  const std::uint64_t until = steps_ + steps;
  while (steps_ < until) {
    if (!running_ || processes_.size() == 1) {
      steps_ = until;
    } else {
      step(true);
    }
  }
}

}  // namespace drought
