#include "harness/sweep/orders.hpp"

#include <memory>
#include <nlohmann/json.hpp>

#include "harness/scenario/result_json.hpp"
#include "harness/simt/needs_library.hpp"
#include "harness/work/crew.hpp"

namespace drought {
namespace {

using nlohmann::json;

std::string line(const json& object) { return object.dump(-1, ' ', false, json::error_handler_t::replace); }

json order_of(const char* what, const Scenario& scenario, const RunOptions& options) {
  return {{"do", what},
          {"path", scenario.path},
          {"text", scenario.text},
          {"cuda", options.lane == Lane::cuda},
          {"seed", options.seed}};
}

json to_json(const Footprint& footprint) { return {static_cast<int>(footprint.outcome), footprint.outputs}; }
Footprint footprint_from(const json& from) {
  return {static_cast<Outcome::Kind>(from.at(0).get<int>()), from.at(1)};
}

json to_json(const std::vector<Blow>& blows) {
  json list = json::array();
  for (const Blow& blow : blows)
    list.push_back({blow.call, static_cast<int>(blow.site), blow.fault, blow.forever});
  return list;
}
std::vector<Blow> blows_from(const json& from) {
  std::vector<Blow> blows;
  for (const json& blow : from)
    blows.push_back({blow.at(0), static_cast<Site>(blow.at(1).get<int>()), blow.at(2), blow.at(3)});
  return blows;
}

/// A scenario that was parsed last is the next one as a rule: a sweep orders thousands of runs of one.
class Parsed {
 public:
  const Scenario& scenario(const json& order, const Catalogues& catalogues) {
    const auto& text = order.at("text").get_ref<const std::string&>();
    const auto& path = order.at("path").get_ref<const std::string&>();
    if (!last_ || last_->text != text || last_->path != path)
      last_ = std::make_unique<Scenario>(parse_scenario(text, path, catalogues));
    return *last_;
  }

 private:
  std::unique_ptr<Scenario> last_;
};

Deed do_count(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options,
              const json& order) {
  const CountAsked asked{order.at("faults"), blows_from(order.at("blows")), order.at("unique_stacks")};
  Counted counted;
  try {
    counted = count_points(scenario, catalogues, options, asked);
  } catch (const UserError&) {
    throw;
  } catch (const MissingLibrary& missing) {
    counted.verdict = Verdict::skipped;
    counted.why = missing.what();
  } catch (const std::exception& never_began) {
    counted.verdict = Verdict::never_reached;
    counted.why = never_began.what();
    // It may be this process's context that is lost: a fresh worker costs less than every order after it.
    counted.context_lost = options.lane == Lane::cuda;
  }
  json points = json::array();
  for (const SweepPoint& point : counted.points)
    points.push_back({point.call, static_cast<int>(point.site), point.identity});
  return {line({{"verdict", static_cast<int>(counted.verdict)},
                {"why", counted.why},
                {"footprint", to_json(counted.footprint)},
                {"points", points}}),
          counted.context_lost};
}

Deed do_strike(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options,
               const json& order) {
  const Struck struck =
      strike_points(scenario, catalogues, options, blows_from(order.at("blows")),
                    footprint_from(order.at("unswept")), footprint_from(order.at("faultless")));
  return {line({static_cast<int>(struck.verdict), struck.struck, struck.message, struck.wall_ms}),
          struck.context_lost};
}

Verdict lost_verdict(const Done& done) { return done.hung ? Verdict::hung : Verdict::crashed; }

}  // namespace

std::string run_order(const Scenario& scenario, const RunOptions& options) {
  return line(order_of("run", scenario, options));
}

std::string count_order(const Scenario& scenario, const RunOptions& options, const CountAsked& asked) {
  json order = order_of("count", scenario, options);
  order["faults"] = asked.faults;
  order["blows"] = to_json(asked.blows);
  order["unique_stacks"] = asked.unique_stacks;
  return line(order);
}

std::string strike_order(const Scenario& scenario, const RunOptions& options, const std::vector<Blow>& blows,
                         const Footprint& unswept, const Footprint& faultless) {
  json order = order_of("strike", scenario, options);
  order["blows"] = to_json(blows);
  order["unswept"] = to_json(unswept);
  order["faultless"] = to_json(faultless);
  return line(order);
}

RunResult run_answer(const Done& done, const Scenario& scenario, const RunOptions& options) {
  if (!done.lost) return result_from_json(json::parse(done.answer));
  RunResult result;
  result.scenario = scenario.path;
  result.title = scenario.title;
  result.repeat = "drought run " + scenario.path + option_text(options.lane, options.seed);
  result.verdict = lost_verdict(done);
  result.outcome.kind = done.hung ? Outcome::Kind::hung : Outcome::Kind::crashed;
  result.why = done.answer;
  return result;
}

RunResult run_isolated(const Scenario& scenario, const RunOptions& options) {
  Crew alone({});
  alone.give(0, run_order(scenario, options));
  return run_answer(*alone.next(), scenario, options);
}

Counted count_answer(const Done& done) {
  Counted counted;
  if (done.lost) {
    counted.verdict = lost_verdict(done);
    counted.why = done.answer;
    return counted;
  }
  const json answer = json::parse(done.answer);
  counted.verdict = static_cast<Verdict>(answer.at("verdict").get<int>());
  counted.why = answer.at("why");
  counted.footprint = footprint_from(answer.at("footprint"));
  for (const json& point : answer.at("points"))
    counted.points.push_back({point.at(0), static_cast<Site>(point.at(1).get<int>()), point.at(2)});
  return counted;
}

Struck strike_answer(const Done& done) {
  if (done.lost) return {lost_verdict(done), true, done.answer};
  const json answer = json::parse(done.answer);
  return {static_cast<Verdict>(answer.at(0).get<int>()), answer.at(1), answer.at(2), answer.at(3)};
}

Doer order_doer(const Catalogues& catalogues) {
  return [&catalogues, parsed = std::make_shared<Parsed>()](const std::string& text) -> Deed {
    const json order = json::parse(text);
    const Scenario& scenario = parsed->scenario(order, catalogues);
    const RunOptions options{order.at("cuda").get<bool>() ? Lane::cuda : Lane::host, order.at("seed")};
    const std::string& what = order.at("do").get_ref<const std::string&>();
    if (what == "count") return do_count(scenario, catalogues, options, order);
    if (what == "strike") return do_strike(scenario, catalogues, options, order);
    const RunResult result = run_scenario(scenario, catalogues, options);
    return {line(to_json(result)), result.context_lost};
  };
}

}  // namespace drought
