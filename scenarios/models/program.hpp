// A model's program: operations in order, over values. A value is memory that lives already (weights, cache,
// an input) or an activation, which lives from the operation that makes it to the last that reads it, and
// comes from the resource under test like every workspace: what is live at once is what an engine has live.
//
// A program that is run once gives memory back as it goes. One that is run again and again keeps what it took
// for the next run, so that its addresses stay, and a captured graph may hold them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "harness/simt/kernel.hpp"
#include "scenarios/auto_profile/peak_meter.hpp"

namespace drought {

class Program {
 public:
  struct Where {
    Rig* rig = nullptr;
    Resource* memory = nullptr;
    PeakMeter* meter = nullptr;  ///< Told of every allocation.
    Stream stream{};
    bool keeps_memory = false;  ///< For the next run.
    bool judges_each = false;   ///< Full mode: every operation is compared with its oracle on what it read.
  };
  using Value = std::size_t;

  /// All that `where` names outlives this.
  explicit Program(Where where) : where_(where) {}

  /// Memory that somebody else owns. `tag` is of static storage.
  Value given(std::string_view tag, void* data, std::size_t bytes);
  /// An activation. Nothing is allocated before run().
  Value made(std::string_view tag, std::size_t bytes);
  /// Lives until the next run begins or the program ends.
  void keep(Value value) { values_[value].last_use = kNever; }

  /// Calls `kernel` over values that stand for the parts of its plan, in order, but its workspaces and the
  /// parts of no bytes, which are left out. Throws std::logic_error when their number or sizes do not fit.
  void call(std::string what, std::unique_ptr<Kernel> kernel, const std::vector<Value>& parts);

  /// Enqueues every operation. Throws what the resource throws, DeviceError, MissingLibrary.
  void run();
  /// Where a value is, while it lives; null otherwise.
  void* data(Value value) const { return values_[value].data; }
  std::size_t bytes(Value value) const { return values_[value].bytes; }
  std::size_t operations() const { return operations_.size(); }
  /// Keeps alive, under a holder's name, all that the last run took.
  std::vector<Lease> leases(const std::string& holder) const;
  /// Lets go of all memory that the program took.
  void release() noexcept;

 private:
  static constexpr std::size_t kNever = SIZE_MAX;

  struct Held {
    std::string_view tag;
    std::size_t bytes = 0, last_use = 0;
    bool is_given = false;
    void* data = nullptr;
    Buffer buffer{};
  };
  struct Operation {
    std::string what;
    std::unique_ptr<Kernel> kernel;
    std::vector<Part> plan;
    std::vector<Value> values;  ///< One for each part; kNever where there is none.
    std::vector<Value> dead;    ///< That no later operation reads.
  };

  void run(Operation& operation);
  void allocate(Held& held);
  void give_back(Held& held) noexcept;
  void judge(const Operation& operation, const std::vector<void*>& pointers);

  const Where where_;
  std::vector<Held> values_;
  std::vector<Operation> operations_;
  std::multimap<std::size_t, Buffer> idle_;  ///< What earlier operations took and nobody uses, by size.
  bool is_closed_ = false;                   ///< The dead of each operation are known.
};

}  // namespace drought
