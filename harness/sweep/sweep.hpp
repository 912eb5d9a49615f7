// A sweep: scenarios rerun once for every call that a fault could strike. Count first, then strike each
// point, before the call and after it, once and from there on for ever (strike.hpp says what is asked of
// each run). Every run is an order of its own, so a sweep goes as well over workers and machines, goes on
// from a journal, and comes to the same result in any order.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "harness/sweep/strike.hpp"
#include "harness/work/journal.hpp"
#include "harness/work/workforce.hpp"

namespace drought {

/// Part `index` of `count`, from 1: each point of a sweep is in exactly one.
struct Shard {
  std::size_t index = 1, count = 1;
};

struct SweepOptions {
  Lane lane = Lane::host;
  std::uint64_t seed = 1;
  std::string fault = "default";  ///< A fault's kind, or "default": default_faults().
  std::string site = "*";         ///< Glob.
  bool once = true, forever = true;
  bool pairs = false;  ///< Strikes two calls of a run, each once, the second of those that still come.
  bool unique_stacks = false;  ///< Only the first point from each call stack.
  bool all = false;            ///< Lifts the scenario's points_max.
  std::uint64_t point = 0;     ///< Only this call; 0: every one.
  std::uint64_t second = 0;    ///< Of pairs: only this second call.
  Shard shard{};
  std::size_t points_max = 0;  ///< In place of the scenario's; 0: the scenario's.
};

struct SweepFailure {
  std::uint64_t point = 0;
  Site site{};
  Verdict verdict{};
  std::string message, repeat;
};

struct SweepResult {
  std::string scenario;
  std::uint64_t points = 0;                       ///< Calls that a fault could strike; of pairs: pairs.
  std::uint64_t thinned = 0;                      ///< Points left out by points_max.
  std::uint64_t struck = 0;                       ///< Runs in which the fault struck.
  std::map<std::string, std::uint64_t> sites;     ///< Points of each site, before thinning.
  std::map<std::string, std::uint64_t> verdicts;  ///< never_reached among them: calls that never came again.
  std::vector<SweepFailure> failures;             ///< The first 1,000, in the order of the calls.
  double wall_ms = 0;                             ///< Of all its struck runs.
  std::string why;       ///< Set when the sweep itself could not be: the unswept run fails, nothing struck.
  bool skipped = false;  ///< It could not be because of a library that is not on this machine.
  bool good() const { return skipped || (failures.empty() && why.empty()); }
};

/// Sweeps the scenarios through `workforce`, each result handed to `each` in the order of the scenarios as
/// soon as it is known. Mutants and scenarios of another lane are not swept: the caller leaves them out.
/// `journal` may be null. Throws what the workforce throws.
std::vector<SweepResult> sweep_scenarios(const std::vector<Scenario>& scenarios, const Catalogues& catalogues,
                                         const SweepOptions& options, Workforce& workforce, Journal* journal,
                                         const std::function<void(const SweepResult&)>& each);

/// One scenario, in this process.
SweepResult sweep_scenario(const Scenario& scenario, const Catalogues& catalogues,
                           const SweepOptions& options);

/// The options in one line, as far as they change what is struck: a journal's campaign.
std::string campaign_text(const SweepOptions& options);

}  // namespace drought
