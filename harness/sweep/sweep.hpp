// A sweep: a scenario rerun once for every call that a fault could strike. Count first, then strike each
// point once and from there on for ever, and ask four questions after each:
//   1  the unswept run's outcome and outputs, or a clean error?
//   2  accounting exact, nothing leaked, by identity?
//   3  faults off: does the next run on the same rig give the same bits?
//   4  within the retry cap and steps_max?
// The method is SQLite's and curl's, whose tests fail each allocation in turn; the third question is
// FoundationDB's and TigerBeetle's: heal, then recover.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/scenario/run.hpp"

namespace drought {

struct SweepOptions {
  Lane lane = Lane::host;
  std::uint64_t seed = 1;
  std::string fault = "default";  ///< A fault's kind, or "default": no memory where the call can answer it,
                                  ///< else its first documented error.
  std::string site = "*";         ///< Glob.
  bool once = true, forever = true;
  bool all = false;         ///< Lifts the scenario's points_max.
  std::uint64_t point = 0;  ///< Only this call; 0: every one.
};

struct SweepFailure {
  std::uint64_t point = 0;
  Site site{};
  Verdict verdict{};
  std::string message, repeat;
};

struct SweepResult {
  std::string scenario;
  std::uint64_t points = 0;   ///< Calls that a fault could strike.
  std::uint64_t thinned = 0;  ///< Points left out by points_max.
  std::uint64_t struck = 0;   ///< Runs in which the fault struck.
  std::map<std::string, std::uint64_t> verdicts;
  std::vector<SweepFailure> failures;
  double wall_ms = 0;
  std::string why;  ///< Set when the sweep itself could not be: the unswept run fails, nothing struck.
  bool good() const { return failures.empty() && why.empty(); }
};

/// The kind that strikes a site by default: no memory where the call can answer that, else its first
/// documented error, which comes after the deed where something is given back.
std::string_view default_fault(Site site);

/// Mutants and scenarios of another lane are not swept: the caller leaves them out. Throws MissingLibrary
/// when a kernel needs one that is not on this machine.
SweepResult sweep_scenario(const Scenario& scenario, const Catalogues& catalogues,
                           const SweepOptions& options);

}  // namespace drought
