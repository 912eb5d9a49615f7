#include "harness/fuzz/fuzz.hpp"

#include <rapidcheck.h>

#include <algorithm>
#include <optional>

#include "harness/fuzz/draft.hpp"
#include "harness/sweep/orders.hpp"
#include "harness/sweep/sweep.hpp"

namespace drought {
namespace {

constexpr std::string_view kProfile = "h100-80g";

/// How a draft failed.
struct Finding {
  Verdict verdict{};
  std::string message;
  std::vector<Blow> blows;

  /// The check that failed, or what is before the first colon of another message.
  std::string_view kind() const { return std::string_view(message).substr(0, message.find(':')); }
  bool is_like(const Finding& other) const {
    const bool lost = verdict == Verdict::hung || verdict == Verdict::crashed;
    return verdict == other.verdict && (lost || kind() == other.kind());
  }
};

class Fuzz {
 public:
  Fuzz(const std::string& workload, const Catalogues& catalogues, const FuzzOptions& options,
       Workforce& workforce)
      : catalogues_(catalogues), options_(options), run_{options.lane, options.seed}, workforce_(workforce) {
    subject_.workload = find_entry(catalogues.workloads, workload);
    if (!subject_.workload || !subject_.workload->drawn.any()) {
      std::string known;
      for (const WorkloadEntry& entry : catalogues.workloads)
        if (entry.drawn.any()) known += (known.empty() ? "" : ", ") + std::string(entry.name);
      throw UserError((subject_.workload ? "workload '" + workload + "' draws nothing"
                                         : "unknown workload '" + workload + "'") +
                      "; known: " + known);
    }
    // What shrinks away first is the simplest: no allocator stands for one call of the device each.
    subject_.bases = subject_.aboves = {nullptr};
    for (const AllocatorEntry& entry : catalogues.allocators) {
      if (entry.name == "direct") continue;
      (entry.takes_upstream ? subject_.aboves : subject_.bases).push_back(&entry);
    }
    subject_.profiles = {kProfile};
    // A GPU is the one that it is.
    for (const Profile& profile : profiles())
      if (options.lane == Lane::host && profile.name != kProfile) subject_.profiles.push_back(profile.name);
    subject_.set = options.set;
    result_.workload = workload;
  }

  FuzzResult run() {
    const rc::Gen<Draft> drafts = drought::drafts(subject_);
    for (std::uint64_t i = 0; i < options_.runs; ++i) {
      // Small ones first: most failures need little.
      const int size = 5 + static_cast<int>(i * 95 / options_.runs);
      const rc::Shrinkable<Draft> drawn = drafts(rc::Random(Random(options_.seed).split(i)()), size);
      const Draft draft = drawn.value();
      const std::optional<Finding> finding = judge(draft, i == 0);
      ++result_.runs;
      if (!finding) continue;
      shrink(drawn, *finding);
      break;
    }
    if (result_.runs == result_.discarded)
      throw UserError("no draw of '" + result_.workload + "' was a scenario: " + discarded_because_);
    return std::move(result_);
  }

 private:
  Done do_order(std::string order) {
    workforce_.give(0, std::move(order));
    return *workforce_.next();
  }

  /// Nothing: it survived, or it is no scenario.
  std::optional<Finding> judge(const Draft& draft, bool first) {
    const std::string text = toml_of(draft, subject_, "drawn");
    try {
      const Scenario scenario = parse_scenario(text, "drawn", catalogues_);
      const Counted counted = count_answer(do_order(count_order(scenario, run_, {})));
      if (counted.verdict == Verdict::skipped || counted.verdict == Verdict::never_reached)
        throw UserError(counted.why);
      if (counted.verdict != Verdict::survived) return Finding{counted.verdict, counted.why, {}};
      const std::vector<Blow> blows = blows_of(draft, counted.points);
      if (blows.empty()) return std::nullopt;
      const Struck struck =
          strike_answer(do_order(strike_order(scenario, run_, blows, counted.footprint, counted.footprint)));
      // A second strike that the first kept from being reached says nothing.
      if (struck.verdict == Verdict::survived || struck.verdict == Verdict::never_reached)
        return std::nullopt;
      if (struck.message.starts_with(kAfterHealing) &&
          may_differ_after_healing(scenario, counted.footprint, struck.message))
        return std::nullopt;
      return Finding{struck.verdict, struck.message, blows};
    } catch (const UserError& refused) {
      // The user's own mistake shows in every draw, the first one included.
      discarded_because_ = refused.what();
      if (first && !options_.set.empty()) throw;
      ++result_.discarded;
      return std::nullopt;
    }
  }

  /// Whether the next run may come to something else although all is sound. Draws are as tight as can be: a
  /// fault may leave the allocator with other holes, and one that is warm makes fewer calls, so that drawn
  /// switches fall elsewhere. What reclaims nothing, as bump, cannot be asked either.
  bool may_differ_after_healing(const Scenario& scenario, const Footprint& once, std::string_view message) {
    message.remove_prefix(kAfterHealing.size());
    if (message.starts_with(name(Outcome::Kind::clean_error))) return true;
    return strike_answer(do_order(strike_order(scenario, run_, {}, once, once))).verdict != Verdict::survived;
  }

  std::vector<Blow> blows_of(const Draft& draft, const std::vector<SweepPoint>& points) const {
    std::vector<Blow> blows;
    if (points.empty() || !options_.faults) return blows;
    for (const Draft::Strike& strike : draft.strikes) {
      const SweepPoint& point = points[strike.place % points.size()];
      const std::vector<std::string> kinds = faults_at(point.site);
      if (!kinds.empty())
        blows.push_back({point.call, point.site, kinds[strike.way % kinds.size()], strike.forever});
    }
    return blows;
  }

  /// Every kind that can strike there, those first that a sweep would.
  std::vector<std::string> faults_at(Site site) const {
    std::vector<std::string> kinds = kinds_at(catalogues_, "default", site);
    for (const FaultEntry& entry : catalogues_.faults)
      if (std::find(kinds.begin(), kinds.end(), entry.name) == kinds.end())
        for (std::string& kind : kinds_at(catalogues_, std::string(entry.name), site))
          kinds.push_back(std::move(kind));
    return kinds;
  }

  /// Walks down to a draft of which no smaller one fails in the same way.
  void shrink(rc::Shrinkable<Draft> failing, Finding finding) {
    for (bool smaller = true; smaller && result_.attempts < options_.attempts_max;) {
      smaller = false;
      rc::Seq<rc::Shrinkable<Draft>> shrinks = failing.shrinks();
      while (result_.attempts < options_.attempts_max) {
        rc::Maybe<rc::Shrinkable<Draft>> next = shrinks.next();
        if (!next) break;
        ++result_.attempts;
        const std::optional<Finding> found = judge(next->value(), false);
        if (!found || !found->is_like(finding)) continue;
        finding = *found;
        failing = std::move(*next);
        smaller = true;
        break;
      }
    }
    report(failing.value(), finding);
  }

  void report(const Draft& draft, const Finding& finding) {
    result_.verdict = finding.verdict;
    result_.message = finding.message;
    result_.steps = draft.steps();
    result_.processes = draft.processes.size();
    result_.switches = draft.switches.size();
    result_.strikes = finding.blows.size();
    const std::string title = "Drawn and shrunk: " + std::string(name(finding.verdict));
    result_.scenario = toml_of(draft, subject_, title);
    result_.repeat = "drought run FILE" + option_text(options_.lane, options_.seed);
    if (finding.blows.empty() || repeats_as_run(finding)) return;
    for (const Blow& swept : {finding.blows.back(), finding.blows.front()})
      if (repeats_as_sweep(finding, swept)) return;
    result_.repeat = draws_again();
  }

  /// With the blows but `left_out` as faults of the file.
  std::string with_faults(const Finding& finding, const Blow* left_out) const {
    std::string text = result_.scenario;
    for (const Blow& blow : finding.blows) {
      if (left_out && blow.call == left_out->call) continue;
      text += "\n[[fault]]\nkind = \"" + blow.fault + "\"\nwhen = { site = \"" +
              std::string(name(blow.site)) + "\", " + (blow.forever ? "from = 1, call_min = " : "call = ") +
              std::to_string(blow.call) + " }\n";
    }
    return text;
  }

  bool repeats_as_run(const Finding& finding) {
    std::string text = with_faults(finding, nullptr);
    const Scenario scenario = parse_scenario(text, "drawn", catalogues_);
    if (run_answer(do_order(run_order(scenario, run_)), scenario, run_).verdict != finding.verdict)
      return false;
    result_.scenario = std::move(text);
    return true;
  }

  /// For what only the questions show that a sweep asks after the run.
  bool repeats_as_sweep(const Finding& finding, const Blow& swept) {
    std::string text = with_faults(finding, &swept);
    std::vector<SweepResult> results;
    sweep_scenarios({parse_scenario(text, "FILE", catalogues_)}, catalogues_,
                    {.lane = options_.lane,
                     .seed = options_.seed,
                     .fault = swept.fault,
                     .once = !swept.forever,
                     .forever = swept.forever,
                     .all = true,
                     .point = swept.call},
                    workforce_, nullptr, [&](const SweepResult& result) { results.push_back(result); });
    for (const SweepFailure& failure : results.front().failures) {
      if (failure.verdict != finding.verdict) continue;
      result_.scenario = std::move(text);
      result_.repeat = failure.repeat;
      return true;
    }
    return false;
  }

  /// The draws up to this one.
  std::string draws_again() const {
    std::string text = "drought fuzz " + result_.workload + " --runs " + std::to_string(options_.runs);
    if (!options_.faults) text += " --no-faults";
    for (const auto& [key, value] : options_.set) text += " --set " + key + "=" + value;
    return text + option_text(options_.lane, options_.seed);
  }

  const Catalogues& catalogues_;
  const FuzzOptions& options_;
  const RunOptions run_;
  Workforce& workforce_;
  DraftSubject subject_;
  std::string discarded_because_;
  FuzzResult result_;
};

}  // namespace

FuzzResult fuzz(const std::string& workload, const Catalogues& catalogues, const FuzzOptions& options,
                Workforce& workforce) {
  return Fuzz(workload, catalogues, options, workforce).run();
}

}  // namespace drought
