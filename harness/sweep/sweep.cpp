#include "harness/sweep/sweep.hpp"

#include <algorithm>
#include <memory>

#include "harness/sweep/orders.hpp"
#include "harness/work/campaign.hpp"

namespace drought {
namespace {

/// A run to be ordered. `identity` ranks it when a sweep is thinned.
struct Target {
  std::vector<Blow> blows;
  std::uint64_t identity = 0;
};

/// Leaves the `most` of lowest identity, in their order. An identity does not change when another target
/// comes or goes, so two sweeps of a program that changed a little strike nearly the same points.
template <typename Kept>
std::size_t thin(std::vector<Kept>& all, std::size_t most) {
  if (all.size() <= most) return 0;
  std::vector<std::uint64_t> ranks;
  for (const Kept& one : all) ranks.push_back(one.identity);
  std::nth_element(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(most), ranks.end());
  const std::uint64_t bound = ranks[most];
  const std::size_t before = all.size();
  std::erase_if(all, [&](const Kept& one) { return one.identity >= bound; });
  return before - all.size();
}

/// The sweep of one scenario: what it orders, and what it makes of the answers.
class Sweep {
 public:
  Sweep(const Scenario& scenario, const Catalogues& catalogues, const SweepOptions& options,
        Campaign& campaign, std::function<void()> finished)
      : scenario_(scenario),
        catalogues_(catalogues),
        options_(options),
        run_{options.lane, options.seed},
        campaign_(campaign),
        finished_(std::move(finished)) {
    result_.scenario = scenario.path;
  }

  void begin() {
    count({.unique_stacks = options_.unique_stacks}, [this](Counted unswept) {
      unswept_ = unswept.footprint;
      points_ = std::move(unswept.points);
      if (unswept.verdict != Verdict::survived) return give_up(unswept);
      if (scenario_.faults.empty()) return go_on(unswept_);
      count({.faults = false}, [this](const Counted& quiet) {
        if (quiet.verdict != Verdict::survived) return give_up(quiet);
        go_on(quiet.footprint);
      });
    });
  }

  bool ended() const { return ended_; }
  const SweepResult& result() const { return result_; }

 private:
  void count(const CountAsked& asked, std::function<void(Counted)> then) {
    campaign_.add([this, asked] { return count_order(scenario_, run_, asked); },
                  [then = std::move(then)](const Done& done) { then(count_answer(done)); });
  }

  void give_up(const Counted& counted) {
    const std::string how = counted.verdict == Verdict::hung            ? "hangs: "
                            : counted.verdict == Verdict::crashed       ? "crashes: "
                            : counted.verdict == Verdict::never_reached ? "cannot begin: "
                                                                        : "fails ";
    result_.skipped = counted.verdict == Verdict::skipped;
    result_.why = result_.skipped ? counted.why : "the unswept run " + how + counted.why;
    end();
  }

  void go_on(const Footprint& faultless) {
    faultless_ = faultless;
    choose(points_);
    for (const SweepPoint& point : points_) ++result_.sites[std::string(name(point.site))];
    result_.points = points_.size();
    if (options_.point != 0)
      std::erase_if(points_, [&](const SweepPoint& point) { return point.call != options_.point; });
    result_.thinned = thin(points_, points_max());
    if (options_.pairs) return count_seconds();
    for (const SweepPoint& point : points_)
      for (const std::string& fault : faults_at(point.site))
        for (const bool forever : {false, true})
          if (forever ? options_.forever : options_.once)
            targets_.push_back({{{point.call, point.site, fault, forever}}, point.identity});
    strike();
  }

  /// Of pairs: each first point is struck and the points that come after it are counted. That needs a run
  /// each, so the first points are thinned by themselves, and the pairs again.
  void count_seconds() {
    open_ = points_.size();
    seconds_.resize(points_.size());
    if (open_ == 0) return pair_up();
    for (std::size_t i = 0; i < points_.size(); ++i)
      count({.blows = {first_blow(points_[i])}}, [this, i](Counted counted) {
        choose(counted.points);
        seconds_[i] = std::move(counted.points);
        if (--open_ == 0) pair_up();
      });
  }

  void pair_up() {
    for (std::size_t i = 0; i < points_.size(); ++i)
      for (const SweepPoint& second : seconds_[i])
        if (options_.second == 0 || options_.second == second.call)
          targets_.push_back({{first_blow(points_[i]), first_blow(second)},
                              Random(points_[i].identity).split(second.identity)()});
    seconds_.clear();
    result_.points = targets_.size();
    result_.thinned += thin(targets_, points_max());
    strike();
  }

  void strike() {
    if (options_.shard.count > 1) {
      std::vector<Target> own;
      for (std::size_t i = options_.shard.index - 1; i < targets_.size(); i += options_.shard.count)
        own.push_back(std::move(targets_[i]));
      targets_ = std::move(own);
    }
    answers_.resize(targets_.size());
    open_ = targets_.size();
    if (open_ == 0) return end();
    for (std::size_t i = 0; i < targets_.size(); ++i)
      campaign_.add(
          [this, i] { return strike_order(scenario_, run_, targets_[i].blows, unswept_, faultless_); },
          [this, i](const Done& done) {
            answers_[i] = strike_answer(done);
            if (--open_ == 0) end();
          });
  }

  void end() {
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      const Struck& struck = answers_[i];
      result_.struck += struck.struck;
      result_.wall_ms += struck.wall_ms;
      ++result_.verdicts[std::string(name(struck.verdict))];
      if (struck.verdict == Verdict::survived || result_.failures.size() >= 1000) continue;
      const Blow& last = targets_[i].blows.back();
      result_.failures.push_back(
          {last.call, last.site, struck.verdict, struck.message, repeat(targets_[i].blows)});
    }
    // A shard of a small sweep may have none.
    if (result_.why.empty() && result_.struck == 0 && options_.shard.count == 1)
      result_.why = "nothing was struck";
    targets_.clear();
    answers_.clear();
    ended_ = true;
    finished_();
  }

  std::size_t points_max() const {
    if (options_.all) return static_cast<std::size_t>(-1);
    return options_.points_max != 0 ? options_.points_max : scenario_.sweep.points_max;
  }

  /// Leaves the points that this sweep strikes.
  void choose(std::vector<SweepPoint>& points) {
    std::erase_if(points, [&](const SweepPoint& point) {
      if (!glob_matches(options_.site, name(point.site))) return true;
      for (const std::string& skipped : scenario_.sweep.skip)
        if (glob_matches(skipped, name(point.site))) return true;
      return faults_at(point.site).empty();
    });
  }

  /// The kinds that strike this site, asked of the faults once a site.
  const std::vector<std::string>& faults_at(Site site) {
    const auto [at, fresh] = faults_at_.try_emplace(site);
    if (fresh) at->second = kinds_at(catalogues_, options_.fault, site);
    return at->second;
  }

  Blow first_blow(const SweepPoint& point) { return {point.call, point.site, faults_at(point.site).front()}; }

  std::string repeat(const std::vector<Blow>& blows) const {
    const Blow& first = blows.front();
    std::string how = " --fault " + first.fault + (first.forever ? " --forever" : " --once");
    if (blows.size() > 1)
      how = (options_.fault == "default" ? "" : " --fault " + options_.fault) + " --pairs --second " +
            std::to_string(blows.back().call);
    return "drought sweep " + scenario_.path + " --all" + how + " --point " + std::to_string(first.call) +
           option_text(options_.lane, options_.seed);
  }

  const Scenario& scenario_;
  const Catalogues& catalogues_;
  const SweepOptions& options_;
  const RunOptions run_;
  Campaign& campaign_;
  const std::function<void()> finished_;
  std::map<Site, std::vector<std::string>> faults_at_;
  Footprint unswept_, faultless_;
  std::vector<SweepPoint> points_;
  std::vector<std::vector<SweepPoint>> seconds_;  ///< Of each of points_.
  std::vector<Target> targets_;
  std::vector<Struck> answers_;
  std::size_t open_ = 0;
  bool ended_ = false;
  SweepResult result_;
};

}  // namespace

std::vector<SweepResult> sweep_scenarios(const std::vector<Scenario>& scenarios, const Catalogues& catalogues,
                                         const SweepOptions& options, Workforce& workforce, Journal* journal,
                                         const std::function<void(const SweepResult&)>& each) {
  Campaign campaign(workforce, journal);
  std::vector<std::unique_ptr<Sweep>> sweeps;
  std::size_t told = 0;
  const auto tell = [&] {
    while (told < sweeps.size() && sweeps[told]->ended()) each(sweeps[told++]->result());
  };
  for (const Scenario& scenario : scenarios)
    sweeps.push_back(std::make_unique<Sweep>(scenario, catalogues, options, campaign, tell));
  std::size_t begun = 0;
  campaign.run([&] {
    if (begun == sweeps.size()) return false;
    sweeps[begun++]->begin();
    return true;
  });
  std::vector<SweepResult> results;
  for (const auto& sweep : sweeps) results.push_back(sweep->result());
  return results;
}

SweepResult sweep_scenario(const Scenario& scenario, const Catalogues& catalogues,
                           const SweepOptions& options) {
  Myself myself(order_doer(catalogues));
  const std::vector<Scenario> one{scenario};
  return sweep_scenarios(one, catalogues, options, myself, nullptr, [](const SweepResult&) {}).front();
}

std::string campaign_text(const SweepOptions& options) {
  std::string text = "sweep --fault " + options.fault + " --site " + options.site;
  if (options.once != options.forever) text += options.once ? " --once" : " --forever";
  if (options.pairs) text += " --pairs";
  if (options.unique_stacks) text += " --unique-stacks";
  if (options.all) text += " --all";
  if (options.points_max) text += " --points-max " + std::to_string(options.points_max);
  if (options.point) text += " --point " + std::to_string(options.point);
  if (options.second) text += " --second " + std::to_string(options.second);
  if (options.shard.count > 1)
    text += " --shard " + std::to_string(options.shard.index) + "/" + std::to_string(options.shard.count);
  return text + option_text(options.lane, options.seed);
}

}  // namespace drought
