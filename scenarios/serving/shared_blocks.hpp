// Processes of a server that share blocks: each takes, fills, reads, pins and drops what others may hold at
// the same time, within one budget for which they wait. What each does is a list of steps, so that a run that
// fails can be shrunk to the few that matter.
//
//   [[workload.process]]
//   steps = ["take 0 4", "fill 0 17", "pin 0", "read 0", "drop 0"]
//
//   take S N   a block of N MiB into the empty slot S, when the budget has room; whoever waits and finds that
//              nobody is left to make room goes on without
//   fill S V   a kernel's write of V into slot S, on the process's own stream, after whatever was last queued
//              on it
//   read S     what slot S holds, on the process's own stream, beside what was last filled in
//   pin S      one more reference to slot S, which the process drops at its end
//   drop S     the slot's own reference goes; the last of all gives the block back and wakes who waits
//
// Steps on an empty slot, and take into a full one, do nothing. The mistakes that `bug` switches on are those
// of servers: each needs two processes and a switch between them at one place.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/table.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class SharedBlocks final : public Workload {
 public:
  static constexpr std::size_t kSlots = 4;

  enum class Bug {
    none,
    lost_wake_up,    ///< Looks whether there is room, and only later says that it waits.
    check_then_act,  ///< Charges the budget after the allocation, which lets others look meanwhile.
    double_free,     ///< Reads the count of references, and writes it after a call.
    stale_read,      ///< Reads without waiting for the stream that filled.
    drops_in_use,    ///< Fills through a pointer that it took before it waited, without a reference.
  };
  struct Options {
    std::vector<Table> process;
    std::size_t budget_mib = 8;
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("process", &Options::process), key("budget_mib", &Options::budget_mib),
                        key("bug", &Options::bug)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn_options[] = {{"budget_mib", 4, 16}};
  static constexpr DrawnVerb drawn_verbs[] = {{"take", kSlots, 8},
                                              {"fill", kSlots, 255},
                                              {"read", kSlots, 0},
                                              {"pin", kSlots, 0},
                                              {"drop", kSlots, 0}};
  static constexpr Drawn drawn{drawn_options, drawn_verbs, "process", 3};

  /// Throws UserError at the place of a step that cannot be, std::invalid_argument for an unknown bug.
  explicit SharedBlocks(Options options);

  void run(Rig& rig) override;

  struct Step {
    enum class Verb { take, fill, read, pin, drop };
    Verb verb{};
    std::size_t slot = 0, number = 0;
  };

 private:
  std::vector<std::vector<Step>> processes_;
  const std::size_t budget_bytes_;
  Bug bug_ = Bug::none;
};

}  // namespace drought
