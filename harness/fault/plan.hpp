// The faults of a run, each armed with its trigger. The plan sees every call in order, so it also
// counts the points at which a fault could strike: a sweep is this count, and then one run for each.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "harness/check/record.hpp"
#include "harness/fault/fault.hpp"
#include "harness/fault/trigger.hpp"

namespace drought {

struct ArmedFault {
  std::string kind;
  std::unique_ptr<Fault> fault;
  Trigger trigger;
  bool required = true;  ///< A declared fault that never strikes fails the run.
  std::uint64_t struck = 0;
};

/// A call that a fault could strike.
struct FaultPoint {
  std::uint64_t call = 0;  ///< Index among all calls of the run, from 1.
  Site site{};
  Tag tag, phase;
  std::size_t bytes = 0;
  std::string resource;
};

class Plan {
 public:
  Plan(Record& record, std::uint64_t seed) : record_(record), random_(Random(seed).split(0xFA17)) {}

  static constexpr std::size_t kFaultsMax = 64;

  /// Throws TriggerMistake when the trigger can never strike, std::invalid_argument for one too many.
  void arm(ArmedFault fault);
  /// From now on nothing strikes (calls are still counted).
  void disarm() {
    disarmed_ = true;
    open_strikes_.clear();
  }
  void release(Scene& scene) noexcept;

  /// Whether consider() and answered() have anything to do: a run without faults does not pay for them.
  bool idle() const {
    return keeps_points_ == Points::none && (disarmed_ || armed_.empty()) && open_strikes_.empty();
  }

  /// Lets the armed faults strike; the first one whose strike refuses the call ends it.
  void consider(Call& call, const Circumstances& now, Scene& scene);
  /// After the call: tells the faults that struck it, and those that watch. `status` is the caller's.
  void answered(Call& call, Status status, Scene& scene);
  bool awaits(const Call& call) const { return !disarmed_ && (call.struck_by != 0 || watchers_ != 0); }

  /// Which calls points() lists: a plain run does not pay for it. Of unique stacks: the first from each
  /// call stack.
  enum class Points { none, all, of_unique_stacks };
  void keep_points(Points points = Points::all) { keeps_points_ = points; }
  const std::vector<FaultPoint>& points() const { return points_; }
  const std::vector<ArmedFault>& armed() const { return armed_; }

 private:
  void strike(Call& call, const Circumstances& now, Scene& scene);
  void note_retry(const Call& call);
  int number_of(Stream stream);

  Record& record_;
  Random random_;
  std::vector<ArmedFault> armed_;
  std::array<std::vector<std::size_t>, site_count> by_site_;  ///< Which of armed_ may strike there.
  std::uint64_t watchers_ = 0;                                ///< A bit for each of armed_ that watches.
  std::unordered_map<std::uint64_t, int> streams_;            ///< Numbered by first use; kept if asked.
  bool numbers_streams_ = false;
  std::vector<FaultPoint> points_;
  std::vector<std::size_t> open_strikes_;  ///< Indices of strikes whose error nobody has retried yet.
  Points keeps_points_ = Points::none;
  StackSet stacks_;
  bool disarmed_ = false, striking_ = false;
};

/// Whether an error from this call comes after the deed: giving memory back cannot be refused, it can
/// only report what earlier work did (CUDA: "may also return error codes from previous launches").
bool gives_back(Site site);

}  // namespace drought
