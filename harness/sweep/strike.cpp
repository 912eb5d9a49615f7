#include "harness/sweep/strike.hpp"

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "harness/fault/plan.hpp"
#include "harness/sched/random.hpp"

namespace drought {
namespace {

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) { return Random(hash).split(value)(); }

std::uint64_t mixed(std::uint64_t hash, std::string_view text) {
  for (const char letter : text) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  return mixed(hash, text.size());
}

/// What a run did, as far as the four questions ask.
struct Deeds {
  Outcome outcome;
  Footprint footprint;
  std::vector<std::string> failing;  ///< "check: message".
};

Deeds deeds_of(const Catalogues& catalogues, const Record& record, Outcome outcome) {
  Deeds made;
  for (const CheckResult& check : finish_checks(catalogues, record, outcome))
    if (!check.ok) made.failing.push_back(check.name + ": " + check.message);
  made.footprint.outcome = outcome.kind;
  for (const std::uint64_t output : record.output_digests)
    made.footprint.outputs = mixed(made.footprint.outputs, output);
  made.outcome = std::move(outcome);
  return made;
}

/// Of a failing check, "check: message".
Verdict verdict_of(const std::string& failing) {
  const bool leak = failing.starts_with("teardown") || failing.starts_with("accounting");
  return leak ? Verdict::leaked : Verdict::failed;
}

/// Whether one call was struck and the attempt that made up for it was the last to be made: whoever allows
/// itself a retry promises the right answer then.
bool retry_succeeded(const Record& record) {
  if (record.strikes.size() != 1 || !record.strikes.front().retried || record.attempts.empty()) return false;
  const Attempt& last = record.attempts.back();
  return last.number > 1 && last.end == Attempt::End::succeeded;
}

ArmedFault armed(const Catalogues& catalogues, const Blow& blow) {
  Trigger::Options when;
  when.site = name(blow.site);
  if (blow.forever) {
    when.from = 1;
    when.call_min = blow.call;
  } else {
    when.call = blow.call;
  }
  return {blow.fault, find_entry(catalogues.faults, blow.fault)->make(Table("sweep", {})), Trigger(when)};
}

std::vector<SweepPoint> points_of(const Plan& plan, std::uint64_t after_call) {
  std::vector<SweepPoint> points;
  std::unordered_map<std::uint64_t, std::uint64_t> alike;
  for (const FaultPoint& point : plan.points()) {
    std::uint64_t kind = mixed(static_cast<std::uint64_t>(point.site), point.bytes);
    for (const std::string_view part :
         {point.tag.view(), point.phase.view(), std::string_view(point.resource)})
      kind = mixed(kind, part);
    const std::uint64_t identity = mixed(kind, ++alike[kind]);
    if (point.call > after_call) points.push_back({point.call, point.site, identity});
  }
  return points;
}

/// One struck run and what is asked of it.
class StruckRun {
 public:
  StruckRun(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options)
      : scenario_(scenario), catalogues_(catalogues), options_(options) {}

  Struck run(const std::vector<Blow>& blows, const Footprint& unswept, const Footprint& faultless) {
    Rig rig(scenario_, catalogues_, {options_.lane, options_.seed});
    for (const FaultSection& declared : scenario_.faults) rig.arm(declared, false);
    for (const Blow& blow : blows) rig.plan().arm(armed(catalogues_, blow));
    Outcome outcome = run_workload(scenario_, rig);
    Struck result;
    const auto& faults = rig.plan().armed();
    result.struck = std::all_of(faults.end() - static_cast<std::ptrdiff_t>(blows.size()), faults.end(),
                                [](const ArmedFault& fault) { return fault.struck != 0; });
    rig.heal();
    rig.ledger().mark_end();
    const Record record = rig.take_record();
    answer_run(deeds_of(catalogues_, record, std::move(outcome)), record, unswept, result);
    const bool lost = has_lost_a_context(rig);
    result.context_lost = lost && options_.lane == Lane::cuda;
    if (result.verdict == Verdict::survived && !result.context_lost)
      answer_recovery(rig, lost, faultless, result);
    return result;
  }

 private:
  /// Questions 1, 2 and 4.
  void answer_run(const Deeds& swept, const Record& record, const Footprint& unswept, Struck& result) const {
    const auto say = [&](Verdict what, std::string why) {
      result.verdict = what;
      result.message = std::move(why);
    };
    if (!result.struck) return say(Verdict::never_reached, "the run did not come by this call again");
    if (swept.outcome.kind == Outcome::Kind::hung) return say(Verdict::hung, swept.outcome.message);
    if (swept.outcome.kind == Outcome::Kind::crashed) return say(Verdict::crashed, swept.outcome.message);
    if (!swept.failing.empty()) {
      return say(verdict_of(swept.failing.front()), swept.failing.front());
    }
    if (std::string lost = swallowed_error(record, swept.outcome); !lost.empty())
      return say(Verdict::swallowed, lost);
    const bool ended_in_error =
        swept.outcome.kind == Outcome::Kind::clean_error || swept.outcome.kind == Outcome::Kind::fatal;
    if (!ended_in_error && swept.footprint != unswept && record.fallbacks.empty())
      return say(Verdict::failed, "neither an error nor the unswept run's outputs");
    if (ended_in_error && swept.footprint.outcome != unswept.outcome && retry_succeeded(record))
      say(Verdict::failed, "the one strike was retried with success, and yet: " + swept.outcome.message);
  }

  /// Question 3: the same workload again on the same rig, with nothing armed. A context that an error has
  /// ended for good is past recovery, as is an allocator whose process was killed in the midst of it; a fresh
  /// rig then stands for the restarted process.
  void answer_recovery(Rig& struck_rig, bool lost, const Footprint& faultless, Struck& result) const {
    std::unique_ptr<Rig> fresh;
    if (lost || struck_rig.scheduler().hung() || struck_rig.scheduler().deaths() != 0)
      fresh = std::make_unique<Rig>(scenario_, catalogues_, RigOptions{options_.lane, options_.seed});
    Rig& rig = fresh ? *fresh : struck_rig;
    rig.ledger().forget_order();
    // Whoever starts a job again in the same process reads cudaGetLastError first.
    for (int rank = 0; rank < rig.ranks(); ++rank) (void)rig.device(rank).take_last_error();
    Outcome outcome = run_workload(scenario_, rig);
    rig.heal();
    rig.ledger().mark_end();
    result.context_lost = options_.lane == Lane::cuda && has_lost_a_context(rig);
    rig.close();
    const Deeds healed = deeds_of(catalogues_, rig.record(), std::move(outcome));
    if (!healed.failing.empty()) {
      result.verdict = Verdict::leaked;
      result.message = "after healing: " + healed.failing.front();
    } else if (healed.footprint != faultless) {
      result.verdict = Verdict::failed;
      result.message = std::string(kAfterHealing) + std::string(name(healed.outcome.kind)) + " " +
                       healed.outcome.message + ", not to the faultless run's result";
    }
  }

  const Scenario& scenario_;
  const Catalogues& catalogues_;
  const RunOptions options_;
};

}  // namespace

Counted count_points(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options,
                     const CountAsked& asked) {
  Rig rig(scenario, catalogues, {options.lane, options.seed});
  if (asked.faults)
    for (const FaultSection& fault : scenario.faults) rig.arm(fault, false);
  for (const Blow& blow : asked.blows) rig.plan().arm(armed(catalogues, blow));
  rig.plan().keep_points(asked.unique_stacks ? Plan::Points::of_unique_stacks : Plan::Points::all);
  Outcome outcome = run_workload(scenario, rig);
  Counted counted;
  counted.points = points_of(rig.plan(), asked.blows.empty() ? 0 : asked.blows.back().call);
  rig.heal();
  rig.ledger().mark_end();
  counted.context_lost = has_lost_a_context(rig) && options.lane == Lane::cuda;
  rig.close();
  const Deeds deeds = deeds_of(catalogues, rig.record(), std::move(outcome));
  counted.footprint = deeds.footprint;
  if (!asked.blows.empty()) return counted;
  if (deeds.outcome.kind == Outcome::Kind::hung || deeds.outcome.kind == Outcome::Kind::crashed) {
    counted.verdict = deeds.outcome.kind == Outcome::Kind::hung ? Verdict::hung : Verdict::crashed;
    counted.why = deeds.outcome.message;
  } else if (!deeds.failing.empty()) {
    counted.verdict = verdict_of(deeds.failing.front());
    counted.why = deeds.failing.front();
  }
  return counted;
}

Struck strike_points(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options,
                     const std::vector<Blow>& blows, const Footprint& unswept, const Footprint& faultless) {
  const auto started = std::chrono::steady_clock::now();
  Struck struck = StruckRun(scenario, catalogues, options).run(blows, unswept, faultless);
  struck.wall_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started).count();
  return struck;
}

std::vector<std::string_view> default_faults(Site site) {
  if (gives_back(site)) return {"failed_free"};
  const auto errors = documented_errors(site);
  const bool memory = std::find(errors.begin(), errors.end(), Status::memory_allocation) != errors.end();
  return {memory ? "out_of_memory" : "error_code", "late_error"};
}

bool strikes_at(const Catalogues& catalogues, const std::string& fault, Site site) {
  return find_entry(catalogues.faults, fault)->make(Table("sweep", {}))->can_strike(site);
}

std::vector<std::string> kinds_at(const Catalogues& catalogues, const std::string& fault, Site site) {
  std::vector<std::string> kinds{fault};
  if (fault == "default") {
    const auto ways = default_faults(site);
    kinds.assign(ways.begin(), ways.end());
  }
  std::erase_if(kinds, [&](const std::string& kind) { return !strikes_at(catalogues, kind, site); });
  return kinds;
}

}  // namespace drought
