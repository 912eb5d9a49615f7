// Runs one scenario and says how it went.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/diagnose/diagnosis.hpp"
#include "harness/scenario/rig.hpp"

namespace drought {

enum class Verdict { survived, caught, failed, swallowed, leaked, never_reached, crashed, hung, skipped };
std::string_view name(Verdict verdict);
/// survived, caught and skipped are as expected.
bool is_good(Verdict verdict);

struct FaultTally {
  std::string kind;
  bool armed = true;
  std::uint64_t struck = 0;
};

struct RunResult {
  std::string scenario, title;
  Verdict verdict = Verdict::survived;
  Outcome outcome;
  std::vector<CheckResult> checks;
  std::vector<FaultTally> faults;
  std::size_t attempts = 0, peak_bytes = 0, live_bytes = 0;
  std::uint64_t calls = 0;
  double wall_ms = 0;
  std::string why;     ///< One line; empty when all was as expected.
  std::string repeat;  ///< The command that runs this again.
  std::vector<std::string> decisions;
  std::string diagnosis;      ///< The kind of shortage that the record shows.
  bool context_lost = false;  ///< On a GPU: no further run can be made in this process.
};

struct RunOptions {
  Lane lane = Lane::host;
  std::uint64_t seed = 1;
};

/// What kind of shortage a run's own figures show, read in the words that any log is read in.
Diagnosis diagnose_run(const std::vector<std::string>& decisions, const Outcome& outcome);

/// Runs `body` as the process "workload" of `rig`, and whatever processes it starts, to their end.
Outcome run_body(Rig& rig, std::function<void()> body);
/// The same with the workload of `scenario`. Throws UserError, or MissingLibrary when a kernel needs one that
/// is not on this machine.
Outcome run_workload(const Scenario& scenario, Rig& rig);

/// Whether an error has ended a context of the rig. What the run never waited for may have done so.
bool has_lost_a_context(Rig& rig);

/// Every check of the catalogue over one run.
std::vector<CheckResult> finish_checks(const Catalogues& catalogues, const Record& record,
                                       const Outcome& outcome);

/// An error from a strike that nobody returned, retried or recorded as a fallback; empty when none was.
std::string swallowed_error(const Record& record, const Outcome& outcome);

/// Throws UserError for a mistake in the scenario that only shows when it runs. A library that is not here
/// makes the verdict `skipped`.
RunResult run_scenario(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options);

/// "--device cuda --seed 7", as far as they are not the defaults.
std::string option_text(Lane lane, std::uint64_t seed);

}  // namespace drought
