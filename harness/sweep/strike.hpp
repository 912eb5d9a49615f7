// One run of a sweep: the unswept run, which is counted, or one with a call struck, of which four questions
// are asked:
//   1  the unswept run's outcome and outputs, or a clean error?
//   2  accounting exact, nothing leaked, by identity?
//   3  faults off: does the next run on the same rig give the same bits?
//   4  within the retry cap and steps_max?
// The method is SQLite's and curl's, whose tests fail each allocation in turn; the third question is
// FoundationDB's and TigerBeetle's: heal, then recover.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/run.hpp"

namespace drought {

/// How a message begins that says what the next run came to; the outcome's name follows.
inline constexpr std::string_view kAfterHealing = "after healing the next run came to ";

/// A call and what strikes it.
struct Blow {
  std::uint64_t call = 0;  ///< Index among all calls of the run, from 1.
  Site site{};
  std::string fault;     ///< A kind of the catalogue, with its options as they are by default.
  bool forever = false;  ///< This call and all of its site after it; false: it alone.
};

/// A call that a fault could strike.
struct SweepPoint {
  std::uint64_t call = 0;
  Site site{};
  /// Names it by what it is (site, tag, phase, size, resource, and how many alike came before) and not by
  /// its number, so that a new call elsewhere does not change which points a thinned sweep strikes.
  std::uint64_t identity = 0;
};

/// What a run came to, as far as the four questions compare it.
struct Footprint {
  Outcome::Kind outcome{};
  std::uint64_t outputs = 0;  ///< A digest of the run's output digests.
  bool operator==(const Footprint&) const = default;
};

struct CountAsked {
  bool faults = true;  ///< The scenario's own faults are armed; without: what a healed run is compared with.
  std::vector<Blow> blows;     ///< Struck meanwhile; the points after the last are counted.
  bool unique_stacks = false;  ///< Only the first point from each call stack.
};
struct Counted {
  /// never_reached: the rig cannot be made; skipped: a library that the run needs is not on this machine.
  Verdict verdict = Verdict::survived;
  std::string why;  ///< Set when the run fails by itself, so that a sweep would say nothing.
  Footprint footprint;
  std::vector<SweepPoint> points;
  bool context_lost = false;  ///< On a GPU: no further run can be made in this process.
};

struct Struck {
  Verdict verdict = Verdict::survived;
  bool struck = false;  ///< Every blow fell.
  std::string message;  ///< Empty when it survived.
  double wall_ms = 0;
  bool context_lost = false;  ///< On a GPU: no further run can be made in this process.
};

Counted count_points(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options,
                     const CountAsked& asked);

/// Runs with `blows`, and once more without any fault. `unswept` and `faultless` are the footprints that
/// count_points gave with the scenario's faults and without. Where the error has ended a GPU's context the
/// second run is left out: it would be a new process's, which the faultless run was.
Struck strike_points(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options,
                     const std::vector<Blow>& blows, const Footprint& unswept, const Footprint& faultless);

/// The kinds that strike a site by default: before the call, no memory where the call can answer that,
/// else its first documented error; and after it, the same answer although it was done. What gives memory
/// back can only be struck after the deed.
std::vector<std::string_view> default_faults(Site site);

/// Whether a fault of this kind, with its options as they are by default, can strike the site.
bool strikes_at(const Catalogues& catalogues, const std::string& fault, Site site);

/// The kinds that a sweep strikes the site with when it was asked for `fault`, a kind of the catalogue or
/// "default": those of default_faults(). None for a kind that cannot strike there.
std::vector<std::string> kinds_at(const Catalogues& catalogues, const std::string& fault, Site site);

}  // namespace drought
