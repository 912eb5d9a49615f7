// The faults of a run, each armed with its trigger. The plan sees every call in order, so it also
// counts the points at which a fault could strike: a sweep is this count, and then one run for each.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
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

  /// Throws std::invalid_argument when the trigger names no site at which the fault can strike.
  void arm(ArmedFault fault);
  /// From now on nothing strikes (calls are still counted).
  void disarm() {
    disarmed_ = true;
    open_strikes_.clear();
  }
  void release(Scene& scene) noexcept;

  /// Whether consider() would do nothing.
  bool is_idle() const { return (disarmed_ || armed_.empty()) && !keeps_points_ && open_strikes_.empty(); }
  /// Lets the armed faults strike; the first one whose strike refuses the call ends it.
  void consider(Call& call, const Circumstances& now, Scene& scene);

  /// Whether points() is kept; a plain run does not pay for it.
  void keep_points(bool keep = true) { keeps_points_ = keep; }
  const std::vector<FaultPoint>& points() const { return points_; }
  const std::vector<ArmedFault>& armed() const { return armed_; }

 private:
  void strike(Call& call, const Circumstances& now, Scene& scene);
  void note_retry(const Call& call);

  Record& record_;
  Random random_;
  std::vector<ArmedFault> armed_;
  std::vector<FaultPoint> points_;
  std::vector<std::size_t> open_strikes_;  ///< Indices of strikes whose error nobody has retried yet.
  bool disarmed_ = false, keeps_points_ = false, striking_ = false;
};

/// Whether an error from this call comes after the deed: giving memory back cannot be refused, it can
/// only report what earlier work did (CUDA: "may also return error codes from previous launches").
bool gives_back(Site site);

}  // namespace drought
