#include "harness/sweep/sweep.hpp"

#include <algorithm>
#include <chrono>

#include "harness/fault/plan.hpp"

namespace drought {
namespace {

/// What a run did, as far as the four questions ask.
struct Footprint {
  Outcome outcome;
  std::vector<std::uint64_t> digests;
  std::vector<std::string> failing;  ///< "check: message".
  bool struck = false;
};

bool same_result(const Footprint& a, const Footprint& b) {
  return a.outcome.kind == b.outcome.kind && a.digests == b.digests;
}

Footprint footprint(const Catalogues& catalogues, const Record& record, Outcome outcome) {
  Footprint made;
  for (const CheckResult& check : finish_checks(catalogues, record, outcome))
    if (!check.ok) made.failing.push_back(check.name + ": " + check.message);
  made.outcome = std::move(outcome);
  made.digests = record.output_digests;
  return made;
}

class Sweep {
 public:
  Sweep(const Scenario& scenario, const Catalogues& catalogues, const SweepOptions& options)
      : scenario_(scenario), catalogues_(catalogues), options_(options) {
    result_.scenario = scenario.path;
  }

  SweepResult run() {
    const std::vector<FaultPoint> points = count();
    if (!result_.why.empty()) return std::move(result_);
    for (const FaultPoint& point : points) {
      if (options_.once) strike(point, false);
      if (options_.forever) strike(point, true);
    }
    if (result_.struck == 0) result_.why = "nothing was struck";
    return std::move(result_);
  }

 private:
  /// Runs unswept, and answers the points to strike.
  std::vector<FaultPoint> count() {
    Rig rig(scenario_, catalogues_, {options_.lane, options_.seed});
    for (const FaultSection& fault : scenario_.faults) rig.arm(fault, false);
    rig.plan().keep_points();
    Outcome outcome = run_workload(scenario_, rig);
    std::vector<FaultPoint> points = rig.plan().points();
    rig.heal();
    rig.ledger().mark_end();
    rig.close();
    unswept_ = footprint(catalogues_, rig.record(), std::move(outcome));
    if (!unswept_.failing.empty()) result_.why = "the unswept run fails " + unswept_.failing.front();
    // What the same rig gives with no fault at all: what a healed run is compared with.
    Rig quiet(scenario_, catalogues_, {options_.lane, options_.seed});
    Outcome calm = run_workload(scenario_, quiet);
    quiet.heal();
    quiet.ledger().mark_end();
    quiet.close();
    faultless_ = footprint(catalogues_, quiet.record(), std::move(calm));
    return choose(std::move(points));
  }

  std::vector<FaultPoint> choose(std::vector<FaultPoint> points) {
    std::erase_if(points, [&](const FaultPoint& point) {
      if (options_.point != 0 && point.call != options_.point) return true;
      if (!glob_matches(options_.site, name(point.site))) return true;
      for (const std::string& skipped : scenario_.sweep.skip)
        if (glob_matches(skipped, name(point.site))) return true;
      return !fault_for(point.site).fault;
    });
    result_.points = points.size();
    const std::size_t most = scenario_.sweep.points_max;
    if (!options_.all && points.size() > most) {
      // A fixed seed, so that two sweeps of one file strike the same points.
      Random random(0x7417);
      for (std::size_t i = 0; i < most; ++i)
        std::swap(points[i], points[i + random.below(points.size() - i)]);
      result_.thinned = points.size() - most;
      points.resize(most);
      std::sort(points.begin(), points.end(),
                [](const FaultPoint& a, const FaultPoint& b) { return a.call < b.call; });
    }
    return points;
  }

  /// The fault that strikes at this site, or none when the wanted kind cannot.
  ArmedFault fault_for(Site site) const {
    const std::string kind = options_.fault == "default" ? std::string(default_fault(site)) : options_.fault;
    auto fault = find_entry(catalogues_.faults, kind)->make(Table("sweep", {}));
    if (!fault->can_strike(site)) return {kind, nullptr, Trigger({}), false};
    return {kind, std::move(fault), Trigger({}), true};
  }

  void strike(const FaultPoint& point, bool forever) {
    Trigger::Options when;
    when.site = name(point.site);
    if (forever) {
      when.from = 1;
      when.call_min = point.call;
    } else {
      when.call = point.call;
    }
    ArmedFault fault = fault_for(point.site);
    Rig rig(scenario_, catalogues_, {options_.lane, options_.seed});
    for (const FaultSection& declared : scenario_.faults) rig.arm(declared, false);
    rig.plan().arm({fault.kind, std::move(fault.fault), Trigger(when)});
    Outcome outcome = run_workload(scenario_, rig);
    const bool struck = rig.plan().armed().back().struck != 0;
    rig.heal();
    rig.ledger().mark_end();
    const Record record = rig.take_record();
    const Footprint swept = footprint(catalogues_, record, std::move(outcome));
    Verdict verdict = Verdict::survived;
    std::string why = answer_run(swept, record, struck, verdict);
    if (why.empty()) why = answer_recovery(rig, verdict);
    result_.struck += struck;
    ++result_.verdicts[std::string(name(verdict))];
    if (verdict == Verdict::survived || result_.failures.size() >= 1000) return;
    result_.failures.push_back({point.call, point.site, verdict, why, repeat(point, forever)});
  }

  /// Questions 1, 2 and 4; empty when all are answered well.
  std::string answer_run(const Footprint& swept, const Record& record, bool struck, Verdict& verdict) const {
    const auto say = [&](Verdict what, std::string why) {
      verdict = what;
      return why;
    };
    if (!struck) return say(Verdict::never_reached, "the run did not come by this call again");
    if (swept.outcome.kind == Outcome::Kind::hung) return say(Verdict::hung, swept.outcome.message);
    if (swept.outcome.kind == Outcome::Kind::crashed) return say(Verdict::crashed, swept.outcome.message);
    if (!swept.failing.empty()) {
      const std::string& first = swept.failing.front();
      const bool leak = first.starts_with("teardown") || first.starts_with("accounting");
      return say(leak ? Verdict::leaked : Verdict::failed, first);
    }
    if (std::string lost = swallowed_error(record, swept.outcome); !lost.empty())
      return say(Verdict::swallowed, lost);
    const bool ended_in_error =
        swept.outcome.kind == Outcome::Kind::clean_error || swept.outcome.kind == Outcome::Kind::fatal;
    if (!ended_in_error && !same_result(swept, unswept_) && !record.fallbacks.size())
      return say(Verdict::failed, "neither an error nor the unswept run's outputs");
    return {};
  }

  /// Question 3: the same workload again on the same rig, with nothing armed. A context that an error has
  /// ended for good is past recovery; a fresh rig then stands for the restarted process.
  std::string answer_recovery(Rig& struck_rig, Verdict& verdict) const {
    std::unique_ptr<Rig> fresh;
    bool dead = struck_rig.scheduler().hung();
    for (int rank = 0; rank < struck_rig.ranks(); ++rank) {
      (void)struck_rig.device(rank).synchronize();  // What the run never waited for may have ended it.
      dead = dead || is_sticky(struck_rig.device(rank).peek_last_error());
    }
    if (dead) fresh = std::make_unique<Rig>(scenario_, catalogues_, RigOptions{options_.lane, options_.seed});
    Rig& rig = fresh ? *fresh : struck_rig;
    rig.ledger().forget_order();
    // Whoever starts a job again in the same process reads cudaGetLastError first.
    for (int rank = 0; rank < rig.ranks(); ++rank) (void)rig.device(rank).take_last_error();
    Outcome outcome = run_workload(scenario_, rig);
    rig.heal();
    rig.ledger().mark_end();
    rig.close();
    const Footprint healed = footprint(catalogues_, rig.record(), std::move(outcome));
    if (!healed.failing.empty()) {
      verdict = Verdict::leaked;
      return "after healing: " + healed.failing.front();
    }
    if (!same_result(healed, faultless_)) {
      verdict = Verdict::failed;
      return "after healing the next run came to " + std::string(name(healed.outcome.kind)) + " " +
             healed.outcome.message + ", not to the faultless run's result";
    }
    return {};
  }

  std::string repeat(const FaultPoint& point, bool forever) const {
    return "drought sweep " + scenario_.path + " --all" +
           (options_.fault == "default" ? "" : " --fault " + options_.fault) +
           (forever ? " --forever" : " --once") + " --point " + std::to_string(point.call) +
           option_text(options_.lane, options_.seed);
  }

  const Scenario& scenario_;
  const Catalogues& catalogues_;
  const SweepOptions options_;
  Footprint unswept_, faultless_;
  SweepResult result_;
};

}  // namespace

std::string_view default_fault(Site site) {
  const auto errors = documented_errors(site);
  if (std::find(errors.begin(), errors.end(), Status::memory_allocation) != errors.end())
    return "out_of_memory";
  return gives_back(site) ? "failed_free" : "error_code";
}

SweepResult sweep_scenario(const Scenario& scenario, const Catalogues& catalogues,
                           const SweepOptions& options) {
  const auto started = std::chrono::steady_clock::now();
  SweepResult result = Sweep(scenario, catalogues, options).run();
  result.wall_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started).count();
  return result;
}

}  // namespace drought
