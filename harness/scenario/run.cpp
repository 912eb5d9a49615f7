#include "harness/scenario/run.hpp"

#include <algorithm>
#include <chrono>

#include "harness/diagnose/log_reader.hpp"
#include "harness/scenario/workload.hpp"
#include "harness/simt/needs_library.hpp"

namespace drought {
namespace {

std::string wrong_decision(const Scenario& scenario, const Record& record) {
  for (const std::string& wanted : scenario.expect.decisions)
    if (std::find(record.decisions.begin(), record.decisions.end(), wanted) == record.decisions.end()) {
      const std::string what = wanted.substr(0, wanted.find('=') + 1);
      std::string came;
      for (const std::string& decision : record.decisions)
        if (decision.starts_with(what)) came += (came.empty() ? "" : ", ") + decision;
      return "expected the decision '" + wanted + "', came: " + (came.empty() ? "none" : came);
    }
  return {};
}

/// What the run did other than [expect] says; empty when nothing.
std::string wrong_expectation(const Scenario& scenario, const RunResult& result, const Record& record) {
  const Expectation& expect = scenario.expect;
  if (name(result.outcome.kind) != expect.outcome)
    return "expected " + expect.outcome + ", came " + std::string(name(result.outcome.kind)) +
           (result.outcome.message.empty() ? "" : ": " + result.outcome.message);
  if (result.outcome.message.find(expect.message) == std::string::npos)
    return "expected a message with '" + expect.message + "', came '" + result.outcome.message + "'";
  if (expect.attempts >= 0 && static_cast<std::size_t>(expect.attempts) != result.attempts)
    return "expected " + std::to_string(expect.attempts) + " attempts, came " +
           std::to_string(result.attempts);
  for (const CheckResult& check : result.checks)
    if (check.looked_at == 0 &&
        std::find(expect.checks.begin(), expect.checks.end(), check.name) != expect.checks.end())
      return "check '" + check.name + "' had nothing to judge";
  return wrong_decision(scenario, record);
}

/// Empty when the record shows the shortage that [expect] names.
std::string wrong_diagnosis(const Scenario& scenario, const RunResult& result) {
  const std::string& expected = scenario.expect.diagnosis;
  if (expected.empty() || expected == result.diagnosis) return {};
  return "expected the diagnosis " + expected + ", came " + result.diagnosis + ": " +
         diagnose_run(result.decisions, result.outcome).sentence;
}

void judge_mutant(const Scenario& scenario, const Record& record, RunResult& result) {
  std::vector<std::string> failing;
  for (const CheckResult& check : result.checks)
    if (!check.ok) failing.push_back(check.name);
  if (failing == std::vector{scenario.expect.caught_by}) {
    result.why = wrong_decision(scenario, record);
    if (result.why.empty()) result.why = wrong_diagnosis(scenario, result);
    result.verdict = result.why.empty() ? Verdict::caught : Verdict::failed;
    return;
  }
  result.verdict = Verdict::failed;
  result.why = "the mutant was to be caught by '" + scenario.expect.caught_by + "' alone; failing: ";
  for (std::size_t i = 0; i < failing.size(); ++i) result.why += (i ? ", " : "") + failing[i];
  if (failing.empty()) result.why += "none";
}

void judge(const Scenario& scenario, const Record& record, RunResult& result) {
  for (const FaultTally& fault : result.faults)
    if (fault.struck == 0) {
      result.verdict = Verdict::never_reached;
      result.why = "fault '" + fault.kind + "' never struck";
      return;
    }
  if (result.outcome.kind == Outcome::Kind::hung || result.outcome.kind == Outcome::Kind::crashed) {
    result.verdict = result.outcome.kind == Outcome::Kind::hung ? Verdict::hung : Verdict::crashed;
    result.why = result.outcome.message;
    return;
  }
  if (scenario.is_mutant()) {
    judge_mutant(scenario, record, result);
    return;
  }
  for (const CheckResult& check : result.checks) {
    if (check.ok) continue;
    const bool leak = check.name == "teardown" || check.name == "accounting";
    result.verdict = leak ? Verdict::leaked : Verdict::failed;
    result.why = check.name + ": " + check.message;
    return;
  }
  if (std::string lost = swallowed_error(record, result.outcome); !lost.empty()) {
    result.verdict = Verdict::swallowed;
    result.why = std::move(lost);
    return;
  }
  result.why = wrong_expectation(scenario, result, record);
  if (result.why.empty()) result.why = wrong_diagnosis(scenario, result);
  if (!result.why.empty()) result.verdict = Verdict::failed;
}

/// The run itself; what it left behind.
Record run_on(Rig& rig, const Scenario& scenario, Lane lane, RunResult& result) {
  for (const FaultSection& fault : scenario.faults) rig.arm(fault, true);
  result.outcome = run_workload(scenario, rig);
  result.live_bytes = rig.ledger().live_bytes();
  rig.heal();
  rig.ledger().mark_end();
  result.context_lost = lane == Lane::cuda && has_lost_a_context(rig);
  rig.close();
  for (const ArmedFault& fault : rig.plan().armed())
    result.faults.push_back({fault.kind, true, fault.struck});
  result.calls = rig.calls();
  return rig.take_record();
}

/// An allocator that borrows while it is made found too little: an outcome like any other, and no reason
/// to leave the next scenario out.
Outcome never_began(const Scenario& scenario, const std::string& why, RunResult& result) {
  for (const FaultSection& fault : scenario.faults) result.faults.push_back({fault.kind, true, 0});
  return {Outcome::Kind::clean_error, why};
}

}  // namespace

std::string_view name(Verdict verdict) {
  constexpr std::string_view kNames[] = {"survived",      "caught",  "failed", "swallowed", "leaked",
                                         "never_reached", "crashed", "hung",   "skipped"};
  return kNames[static_cast<int>(verdict)];
}

bool is_good(Verdict verdict) {
  return verdict == Verdict::survived || verdict == Verdict::caught || verdict == Verdict::skipped;
}

std::string option_text(Lane lane, std::uint64_t seed) {
  return std::string(lane == Lane::cuda ? " --device cuda" : "") +
         (seed == 1 ? "" : " --seed " + std::to_string(seed));
}

Diagnosis diagnose_run(const std::vector<std::string>& decisions, const Outcome& outcome) {
  LogReader reader;
  // The message first: the figures of a record say more than it, and a later refusal replaces it.
  if (!outcome.message.empty()) reader.line(outcome.message);
  for (const std::string& decision : decisions) reader.line(decision);
  return diagnose(reader.figures());
}

Outcome run_workload(const Scenario& scenario, Rig& rig) {
  const WorkloadEntry* const entry = find_entry(rig.catalogues().workloads, scenario.workload.kind);
  return run_body(rig, [&] { entry->make(scenario.workload.options)->run(rig); });
}

Outcome run_body(Rig& rig, std::function<void()> body) {
  Outcome outcome;
  rig.scheduler().spawn("workload", 0, std::move(body));
  try {
    rig.scheduler().run();
  } catch (const Fatal& last_word) {
    outcome = {Outcome::Kind::fatal, last_word.what()};
  } catch (const OutOfMemory& error) {
    outcome = {Outcome::Kind::clean_error, error.what()};
  } catch (const DeviceError& error) {
    outcome = {Outcome::Kind::clean_error, error.what()};
  } catch (const ProcessLost& error) {
    outcome = {Outcome::Kind::clean_error, error.what()};
  } catch (const UserError&) {
    throw;
  } catch (const MissingLibrary&) {
    throw;
  } catch (const std::exception& error) {
    outcome = {Outcome::Kind::crashed, error.what()};
  }
  if (rig.scheduler().hung()) outcome = {Outcome::Kind::hung, rig.scheduler().hung_text()};
  for (int rank = 0; rank < rig.ranks(); ++rank)
    if (const std::string report = rig.device(rank).fault_report(); !report.empty())
      outcome.message += "; " + report;
  if (!rig.fault_place().empty()) outcome.message += "; " + rig.fault_place();
  return outcome;
}

bool has_lost_a_context(Rig& rig) {
  bool lost = false;
  for (int rank = 0; rank < rig.ranks(); ++rank) {
    (void)rig.device(rank).synchronize();
    lost = lost || is_sticky(rig.device(rank).peek_last_error());
  }
  return lost;
}

std::vector<CheckResult> finish_checks(const Catalogues& catalogues, const Record& record,
                                       const Outcome& outcome) {
  std::vector<CheckResult> results;
  for (const CheckEntry& check : catalogues.checks) results.push_back(check.finish(record, outcome));
  return results;
}

std::string swallowed_error(const Record& record, const Outcome& outcome) {
  if (outcome.kind != Outcome::Kind::completed || !record.fallbacks.empty()) return {};
  for (const Strike& strike : record.strikes) {
    if (!strike.error || strike.retried || gives_back(strike.site)) continue;
    return "the error struck at call " + std::to_string(strike.call) + ", " + std::string(name(strike.site)) +
           " of " + std::to_string(strike.bytes) + " B" +
           (strike.tag.view().empty() ? "" : " for '" + std::string(strike.tag.view()) + "'") +
           ", was neither returned nor retried";
  }
  return {};
}

RunResult run_scenario(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options) {
  RunResult result;
  result.scenario = scenario.path;
  result.title = scenario.title;
  result.repeat = "drought run " + scenario.path + option_text(options.lane, options.seed);
  if (!scenario.runs_on(options.lane)) {
    result.verdict = Verdict::skipped;
    result.why = options.lane == Lane::cuda ? "host lane only" : "cuda lane only";
    return result;
  }
  const auto started = std::chrono::steady_clock::now();
  Record record;
  try {
    Rig rig(scenario, catalogues, {options.lane, options.seed});
    record = run_on(rig, scenario, options.lane, result);
  } catch (const OutOfMemory& error) {
    result.outcome = never_began(scenario, error.what(), result);
  } catch (const DeviceError& error) {
    result.outcome = never_began(scenario, error.what(), result);
  } catch (const MissingLibrary& missing) {
    result.verdict = Verdict::skipped;
    result.why = missing.what();
    return result;
  }
  result.checks = finish_checks(catalogues, record, result.outcome);
  result.attempts = record.attempts.size();
  result.peak_bytes = record.peak_bytes;
  result.decisions = record.decisions;
  result.diagnosis = name(diagnose_run(record.decisions, result.outcome).shortage);
  judge(scenario, record, result);
  result.wall_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started).count();
  return result;
}

}  // namespace drought
