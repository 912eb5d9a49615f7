#include "harness/simt/host_block.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "harness/sched/sanitizers.hpp"
#include "harness/simt/host_context.hpp"

namespace drought {
namespace {

constexpr std::size_t kSharedAlignment = 128;  // What a TMA destination needs, the strictest of all.
constexpr std::size_t kCopyBytes = 16;         // cp.async's widest.
constexpr unsigned kThreadsMax = 1024;

/// splitmix64 (Steele, Lea, Flood 2014).
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/// What an OS thread keeps between launches: the fibers, above all, which are dear to make.
struct Engine {
  HostBlock block;
  std::string report;
  std::uint64_t seed = 0;
};

Engine& engine() {
  thread_local Engine kept;
  return kept;
}

thread_local HostBlock* running_block = nullptr;

bool runs_nowhere(const Launch& launch) {
  const Dim3 grid = launch.grid, block = launch.block;
  const bool empty = grid.volume() == 0 || block.volume() == 0;
  return empty || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || block.volume() > kThreadsMax;
}

}  // namespace

void set_thread_order_seed(std::uint64_t seed) { engine().seed = seed; }

const std::string& host_launch_report() { return engine().report; }

const void* host_launch_fault() { return engine().block.fault_address(); }

bool on_kernel_thread() { return running_block != nullptr; }

void end_kernel_thread_at(const void* address) { running_block->end_at(address); }

Status run_on_host(const Launch& launch, void (*body)(HostContext&, const void*), const void* arguments) {
  Engine& self = engine();
  self.report.clear();
  if (runs_nowhere(launch)) {
    self.report = HostBlock::describe_geometry(launch);
    return Status::invalid_value;
  }
  return self.block.run(launch, body, arguments, self.seed, self.report);
}

void HostBlock::FreeShared::operator()(std::byte* memory) const {
  ::operator delete (memory, std::align_val_t{kSharedAlignment});
}

Status HostBlock::run(const Launch& launch, void (*body)(HostContext&, const void*), const void* arguments,
                      std::uint64_t seed, std::string& report) {
  launch_ = &launch;
  body_ = body;
  arguments_ = arguments;
  fault_ = {};
  // Exactly what was asked for, so that AddressSanitizer's red zone begins at its end.
  shared_.reset(
      static_cast<std::byte*>(::operator new (launch.shared_bytes, std::align_val_t{kSharedAlignment})));
  prepare_threads();
  Status status = Status::success;
  for (std::size_t i = 0; i < launch.grid.volume() && status == Status::success; ++i) {
    const std::size_t row = i / launch.grid.x;
    index_ = {static_cast<unsigned>(i % launch.grid.x), static_cast<unsigned>(row % launch.grid.y),
              static_cast<unsigned>(row / launch.grid.y)};
    status = run_block(seed == 0 ? 0 : seed + i, report);
  }
  shared_.reset();
  return status;
}

void HostBlock::prepare_threads() {
  count_ = static_cast<unsigned>(launch_->block.volume());
  if (threads_.size() < count_) threads_.resize(count_);
  for (unsigned t = 0; t < count_; ++t) {
    if (threads_[t].fiber && !threads_[t].fiber->finished()) continue;
    threads_[t].fiber = std::make_unique<Fiber>(FiberOptions{.ordered = false}, [this, t] { live(t); });
  }
  warps_.resize((count_ + warp_lanes - 1) / warp_lanes);
}

/// What a thread's fiber does for its whole life: one thread of one block after another.
void HostBlock::live(unsigned thread) noexcept {
  for (;;) {
    sanitizers::acquire(&started_);
    {
      HostContext context(*this, thread);
      body_(context, arguments_);
    }
    sanitizers::release(&ended_);
    mark(thread, State::ended);
    Fiber::suspend();
  }
}

Status HostBlock::run_block(std::uint64_t seed, std::string& report) {
  // NaN as a float and as a bf16, and no index that anything has.
  std::memset(shared_.get(), 0xff, launch_->shared_bytes);
  gate_ = {};
  for (Warp& warp : warps_) warp = {};
  order_.resize(count_);
  std::iota(order_.begin(), order_.end(), 0u);
  if (seed != 0)
    for (unsigned i = count_; i > 1; --i) std::swap(order_[i - 1], order_[next_random(seed) % i]);
  for (unsigned t = 0; t < count_; ++t) {
    threads_[t].state = State::ready;
    threads_[t].copies.clear();
    threads_[t].groups.clear();
    threads_[t].ungrouped = 0;
  }
  under_way_.assign(launch_->shared_bytes / kCopyBytes, false);
  sanitizers::release(&started_);
  unsigned left = count_;
  while (left != 0) {
    const sanitizers::Untracked bookkeeping;
    bool moved = false;
    for (const unsigned t : order_) {
      if (threads_[t].state != State::ready) continue;
      moved = true;
      running_ = t;
      running_block = this;
      threads_[t].fiber->resume();
      running_block = nullptr;
      if (threads_[t].state == State::ended) --left;
      if (fault_.status == Status::success) continue;
      report = describe_fault();
      abandon_all();
      return fault_.status;
    }
    if (!moved) {
      report = describe_deadlock();
      abandon_all();
      return Status::launch_failure;
    }
  }
  sanitizers::acquire(&ended_);
  return Status::success;
}

void HostBlock::abandon_all() {
  for (unsigned t = 0; t < count_; ++t)
    if (!threads_[t].fiber->finished()) threads_[t].fiber->abandon();
  sanitizers::acquire(&ended_);
}

/// The current thread stands at `gate` until `count` threads, of which `first` is the lowest, have come. What
/// they wrote meanwhile where a copy is under way is lost: the chip may carry it out at any time.
void HostBlock::meet(Gate& gate, unsigned thread, unsigned first, unsigned count, State waiting) {
  char* const point = &gate.points[gate.phase % 2];
  sanitizers::release(point);
  bool waits = true;
  {
    const sanitizers::Untracked bookkeeping;
    for (const Copy& copy : threads_[thread].copies) std::memset(copy.to, 0xff, kCopyBytes);
    threads_[thread].state = waiting;
    waits = ++gate.arrived < count;
    if (!waits) {
      gate.arrived = 0;
      ++gate.phase;
      for (unsigned t = first; t < first + count; ++t) threads_[t].state = State::ready;
    }
  }
  if (waits) Fiber::suspend();
  sanitizers::acquire(point);
}

void HostBlock::mark(unsigned thread, State state) {
  const sanitizers::Untracked bookkeeping;
  threads_[thread].state = state;
}

void HostBlock::sync(unsigned thread) { meet(gate_, thread, 0, count_, State::at_sync); }

void HostBlock::sync_warp(unsigned thread) {
  const unsigned first = thread / warp_lanes * warp_lanes;
  const unsigned lanes = std::min<unsigned>(warp_lanes, count_ - first);
  meet(warps_[thread / warp_lanes].gate, thread, first, lanes, State::at_sync_warp);
}

void HostBlock::collect(unsigned thread, Leaf leaf, void* brought) {
  const char* wrong = nullptr;
  bool waits = true;
  {
    const sanitizers::Untracked bookkeeping;
    Warp& warp = warps_[thread / warp_lanes];
    const unsigned first = thread / warp_lanes * warp_lanes;
    if (count_ - first < warp_lanes) {
      wrong = "meets fewer than 32 threads in a collective";
    } else if (warp.arrived != 0 && warp.leaf != leaf) {
      wrong = "meets its warp in another collective";
    } else {
      warp.leaf = leaf;
      warp.brought[thread - first] = brought;
      threads_[thread].state = State::at_collective;
      waits = ++warp.arrived < warp_lanes;
    }
    if (!wrong && !waits) {
      warp.arrived = 0;
      wrong = leaf(*this, warp.brought);
      for (unsigned t = first; t < first + warp_lanes; ++t) threads_[t].state = State::ready;
    }
  }
  if (wrong) end(Status::launch_failure, thread, wrong);
  if (waits) Fiber::suspend();
}

void* HostBlock::shared(unsigned thread, std::size_t offset, std::size_t bytes) {
  if (offset > launch_->shared_bytes || bytes > launch_->shared_bytes - offset)
    end(Status::illegal_address, thread, "takes more shared memory than the launch asked for");
  return shared_.get() + offset;
}

std::size_t HostBlock::place_of(const void* shared) const {
  return static_cast<std::size_t>(static_cast<const std::byte*>(shared) - shared_.get()) / kCopyBytes;
}

bool HostBlock::take_place(const void* shared) {
  const sanitizers::Untracked bookkeeping;
  if (under_way_[place_of(shared)]) return false;
  return under_way_[place_of(shared)] = true;
}

void HostBlock::copy_async(unsigned thread, void* to, const void* from) {
  if (place_of(to) >= launch_->shared_bytes / kCopyBytes)
    end(Status::illegal_address, thread, "copies beyond the shared memory that the launch asked for");
  if (!take_place(to)) end(Status::launch_failure, thread, "copies to where another copy is under way");
  // The chip may read and write at any time from now on until the wait.
  if (from) sanitizers::read(from, kCopyBytes);
  sanitizers::write(to, kCopyBytes);
  std::memset(to, 0xff, kCopyBytes);
  const sanitizers::Untracked bookkeeping;
  threads_[thread].copies.push_back({to, from});
  ++threads_[thread].ungrouped;
}

void HostBlock::commit(unsigned thread) {
  const sanitizers::Untracked bookkeeping;
  Thread& self = threads_[thread];
  self.groups.push_back(std::exchange(self.ungrouped, 0));
}

void HostBlock::wait(unsigned thread, std::size_t groups_left) {
  Thread& self = threads_[thread];
  std::size_t copies = 0;
  {
    const sanitizers::Untracked bookkeeping;
    while (self.groups.size() > groups_left) {
      copies += self.groups.front();
      self.groups.erase(self.groups.begin());
    }
  }
  complete(self, copies);
}

void HostBlock::complete(Thread& thread, std::size_t copies) {
  for (std::size_t i = 0; i < copies; ++i) {
    Copy copy;
    {
      const sanitizers::Untracked bookkeeping;
      copy = thread.copies[i];
      under_way_[place_of(copy.to)] = false;
    }
    if (copy.from) {
      std::memcpy(copy.to, copy.from, kCopyBytes);
    } else {
      std::memset(copy.to, 0, kCopyBytes);
    }
  }
  const sanitizers::Untracked bookkeeping;
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + static_cast<std::ptrdiff_t>(copies));
}

void HostBlock::outside_operand(unsigned thread, const Operand* operand, std::ptrdiff_t offset,
                                const char* wrong) {
  end_with({.status = Status::illegal_address,
            .thread = thread,
            .wrong = wrong,
            .operand = operand,
            .has_offset = true,
            .offset = offset});
}

void HostBlock::end(Status status, unsigned thread, const char* wrong) {
  end_with({.status = status, .thread = thread, .wrong = wrong});
}

void HostBlock::end_at(const void* address) {
  end_with({.status = Status::illegal_address,
            .thread = running_,
            .wrong = "touches memory that is not mapped",
            .address = address});
}

void HostBlock::end_with(const Fault& fault) {
  {
    const sanitizers::Untracked bookkeeping;
    fault_ = fault;
  }
  Fiber::abandon_current();
}

}  // namespace drought
