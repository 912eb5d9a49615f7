// Runs a scenario in a process of its own. What ends a CUDA context ends that process alone, and a crash
// or a hang there is a verdict here.
#pragma once

#include <istream>
#include <ostream>

#include "harness/scenario/run.hpp"

namespace drought {

/// As run_scenario, in a child of this executable, whose main must have a job "scenario" that calls
/// run_scenario_job. The child is handed the scenario's text, so the file may have changed since.
RunResult run_isolated(const Scenario& scenario, const RunOptions& options);

/// run_isolated where the scenario asks for it, run_scenario else.
RunResult run_as_asked(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options);

/// The child's side: reads what run_isolated gives, runs it, and writes the result.
int run_scenario_job(std::istream& input, std::ostream& record, const Catalogues& catalogues);

}  // namespace drought
