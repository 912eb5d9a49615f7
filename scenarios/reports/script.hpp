// A report of running out of memory, re-enacted: a list of steps on any chain of allocators and any
// device, and the figures that came of it. Most reports need no code of their own, only their numbers.
//
//   [[workload.step]]
//   do    = "allocate"       # one of the verbs below
//   name  = "kv"
//   bytes = "1.63 GiB"…      # sizes are whole: "1669 MiB", 1750199173
//
//   allocate  count blocks of `name`, each grow_bytes larger than the one before; with `refused` the
//             last must be refused and the script goes on, up to `tries` times where the cap is `cap`;
//             each is followed by one of with_bytes called `with`, if that is given
//   use       the same, each freed before the next
//   free      every `every`th block of `name`, the first one included
//   drop      the owner of `name` lets go, and `holder` keeps the references
//   collect   `holder` lets go too
//   trim      the allocator gives back what it can
//   peer      another process called `name` holds `bytes` from now on, or is `refused`; what it holds
//             may be `reclaimable`
//   ready     the program is up: what is lent now is what it was planned with
//   drained   nothing runs: what is lent beyond `ready` is lost
//   require   a formula wants `bytes` free, of which needed_bytes are needed
//   watch     remembers the device's free memory; judge says what it fell by, beside what was allocated,
//   judge     and whether that is within `bytes`
//   register  registers `bytes` of host memory in one call
//
// What is left at the end is given back. Figures are recorded as decisions "figure.live=17", at each
// refusal and at the end, under the names that harness/diagnose knows.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/scenario/table.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

/// One line of a script.
struct Step {
  std::string verb, name, with, holder, phase;
  std::string from;  ///< A resource of the chain or beside it; empty: the topmost of the chain.
  std::size_t bytes = 0, grow_bytes = 0, with_bytes = 0, needed_bytes = 0;
  std::size_t count = 1, every = 1, tries = 1, cap = 0, stream = 0;
  bool refused = false, reclaimable = false;
  static constexpr auto keys() {
    return std::tuple{key("do", &Step::verb),
                      key("name", &Step::name),
                      key("with", &Step::with),
                      key("with_bytes", &Step::with_bytes),
                      key("holder", &Step::holder),
                      key("phase", &Step::phase),
                      key("from", &Step::from),
                      key("bytes", &Step::bytes),
                      key("grow_bytes", &Step::grow_bytes),
                      key("needed_bytes", &Step::needed_bytes),
                      key("count", &Step::count),
                      key("every", &Step::every),
                      key("tries", &Step::tries),
                      key("cap", &Step::cap),
                      key("stream", &Step::stream),
                      key("refused", &Step::refused),
                      key("reclaimable", &Step::reclaimable)};
  }
};

class Script final : public Workload {
 public:
  struct Options {
    std::vector<Table> step;
    std::size_t limit_bytes = 0;  ///< The most that the topmost allocator may hold, as it was configured.
    std::size_t streams = 1;      ///< That steps may name, from 0.
    static constexpr auto keys() {
      return std::tuple{key("step", &Options::step), key("limit_bytes", &Options::limit_bytes),
                        key("streams", &Options::streams)};
    }
  };
  /// Throws UserError at the place of a step that cannot be.
  explicit Script(Options options);

  void run(Rig& rig) override;

 private:
  std::vector<Step> steps_;
  const std::size_t limit_bytes_, streams_;
};

}  // namespace drought
