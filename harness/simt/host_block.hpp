// Runs the grid of a launch on this machine, block after block. The threads of a block are fibers in a
// seeded order; what they share (barriers, rendezvous of a warp, dynamic shared memory) lies here. A launch
// runs to its end before run_on_host returns, inside whatever fiber calls it.
//
// What goes wrong never hangs and never throws: an access outside the declared operands, a misaligned
// asynchronous copy, a barrier that only some threads reach, lanes of one warp in different collectives.
// The block is then abandoned where it stands; kernels own nothing, so nothing is lost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness/device/launch.hpp"
#include "harness/sched/fiber.hpp"
#include "harness/simt/tile.hpp"

namespace drought {

class HostContext;

/// The order in which the next launches of this OS thread run their threads; 0 runs them by number.
void set_thread_order_seed(std::uint64_t seed);

/// Why the last launch on this OS thread failed: operand, offset, kernel, block and thread; or who waits
/// where. Empty after a success.
const std::string& host_launch_report();

/// The unmapped address that ended the last launch on this OS thread, or null.
const void* host_launch_fault();

/// Whether the caller is a thread of a simulated kernel. Safe in a signal handler.
bool on_kernel_thread();

/// For the handler of SIGSEGV or SIGBUS, on an alternate stack, when on_kernel_thread(): the launch ends with
/// illegal_address, and the report says that `address` is not mapped.
[[noreturn]] void end_kernel_thread_at(const void* address);

/// Runs `body` once for every thread of the grid. invalid_value for a geometry that no chip runs.
Status run_on_host(const Launch& launch, void (*body)(HostContext&, const void* arguments),
                   const void* arguments);

/// The block that runs now. Threads reach it through their HostContext.
class HostBlock {
 public:
  /// What a warp does together, once all lanes are there: it is given what each lane brought, and answers
  /// what is wrong with it, or null.
  using Leaf = const char* (*)(HostBlock&, void* const (&lanes)[warp_lanes]);

  HostBlock() = default;
  HostBlock(const HostBlock&) = delete;
  HostBlock& operator=(const HostBlock&) = delete;

  Status run(const Launch& launch, void (*body)(HostContext&, const void*), const void* arguments,
             std::uint64_t seed, std::string& report);

  /// Says that no chip runs such a grid.
  static std::string describe_geometry(const Launch& launch);

  const Launch& launch() const { return *launch_; }
  const void* fault_address() const { return fault_.address; }
  Dim3 index() const { return index_; }

  /// Memory is ordered between all threads before it and all threads after.
  void sync(unsigned thread);
  /// The same for one warp.
  void sync_warp(unsigned thread);
  /// Runs `leaf` once for the warp. Orders no memory: on the GPU a shuffle does not either.
  void collect(unsigned thread, Leaf leaf, void* brought);

  /// Working memory for a leaf, at least `count` floats, kept between leaves.
  float* scratch(std::size_t count) {
    if (scratch_.size() < count) scratch_.resize(count);
    return scratch_.data();
  }

  /// Checked against the shared memory that the launch asked for.
  void* shared(unsigned thread, std::size_t offset, std::size_t bytes);

  /// Copies 16 bytes, or writes zeros when `from` is null, once `thread` waits for them; until then the
  /// destination, in shared memory, holds NaNs, whatever is written there, and no other copy may go there.
  void copy_async(unsigned thread, void* to, const void* from);
  void commit(unsigned thread);
  void wait(unsigned thread, std::size_t groups_left);

  /// Ends the launch from inside a kernel thread.
  [[noreturn]] void outside_operand(unsigned thread, const Operand* operand, std::ptrdiff_t offset,
                                    const char* wrong);
  [[noreturn]] void end(Status status, unsigned thread, const char* wrong);
  [[noreturn]] void end_at(const void* address);

 private:
  enum class State : unsigned char { ready, at_sync, at_sync_warp, at_collective, ended };

  struct Copy {
    void* to;
    const void* from;
  };

  struct Thread {
    std::unique_ptr<Fiber> fiber;
    State state = State::ended;
    std::vector<Copy> copies;         // In order of issue; those not in a group yet at the end.
    std::vector<std::size_t> groups;  // Copies of each group that is still under way.
    std::size_t ungrouped = 0;
  };

  /// A meeting point. Two points in turn: a thread that is already at the next meeting must not order those
  /// who have yet to leave this one.
  struct Gate {
    unsigned arrived = 0;
    unsigned phase = 0;
    char points[2] = {};
  };

  struct Warp {
    Gate gate;
    Leaf leaf = nullptr;
    unsigned arrived = 0;
    void* brought[warp_lanes] = {};
  };

  struct Fault {
    Status status = Status::success;
    unsigned thread = 0;
    const char* wrong = nullptr;
    const Operand* operand = nullptr;
    bool has_offset = false;
    std::ptrdiff_t offset = 0;
    const void* address = nullptr;
  };

  [[noreturn]] void end_with(const Fault& fault);
  void mark(unsigned thread, State state);
  void prepare_threads();
  void live(unsigned thread) noexcept;
  Status run_block(std::uint64_t seed, std::string& report);
  void meet(Gate& gate, unsigned thread, unsigned first, unsigned count, State waiting);
  void complete(Thread& thread, std::size_t copies);
  std::size_t place_of(const void* shared) const;
  bool take_place(const void* shared);  // Whether no copy is under way to it.
  void abandon_all();
  std::string describe_fault() const;
  std::string describe_deadlock() const;
  std::string describe_place() const;

  const Launch* launch_ = nullptr;
  void (*body_)(HostContext&, const void*) = nullptr;
  const void* arguments_ = nullptr;
  Dim3 index_{};
  unsigned count_ = 0;    // Threads of a block.
  unsigned running_ = 0;  // The thread that runs, while one does.
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<unsigned> order_;
  Gate gate_;
  struct FreeShared {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, FreeShared> shared_;
  std::vector<bool> under_way_;  // Whether a copy is to arrive, for each place of 16 bytes in shared_.
  std::vector<float> scratch_;
  Fault fault_;
  char started_ = 0, ended_ = 0;  // What ThreadSanitizer orders the block's start and end by.
};

}  // namespace drought
