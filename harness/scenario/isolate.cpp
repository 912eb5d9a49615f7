#include "harness/scenario/isolate.hpp"

#include <nlohmann/json.hpp>

#include "harness/device/child.hpp"
#include "harness/report/result_json.hpp"

namespace drought {

RunResult run_isolated(const Scenario& scenario, const RunOptions& options) {
  const nlohmann::json order{{"path", scenario.path},
                             {"text", scenario.text},
                             {"cuda", options.lane == Lane::cuda},
                             {"seed", options.seed}};
  const ChildEnd end = Child(job("scenario")).finish(order.dump());
  RunResult result;
  result.scenario = scenario.path;
  result.title = scenario.title;
  result.repeat = "drought run " + scenario.path + option_text(options.lane, options.seed);
  try {
    if (end.succeeded()) return result_from_json(nlohmann::json::parse(end.record));
    result.why = "its process ended with " + end.text();
  } catch (const nlohmann::json::exception&) {
    result.why = "its process ended without a record, " + end.text();
  }
  result.verdict = end.how == ChildEnd::How::timed_out ? Verdict::hung : Verdict::crashed;
  result.outcome.kind = end.how == ChildEnd::How::timed_out ? Outcome::Kind::hung : Outcome::Kind::crashed;
  return result;
}

RunResult run_as_asked(const Scenario& scenario, const Catalogues& catalogues, const RunOptions& options) {
  const bool isolate = scenario.device.isolate && scenario.runs_on(options.lane);
  return isolate ? run_isolated(scenario, options) : run_scenario(scenario, catalogues, options);
}

int run_scenario_job(std::istream& input, std::ostream& record, const Catalogues& catalogues) {
  const nlohmann::json order = nlohmann::json::parse(input);
  const Scenario scenario = parse_scenario(order.at("text").get<std::string>(), order.at("path"), catalogues);
  const Lane lane = order.at("cuda").get<bool>() ? Lane::cuda : Lane::host;
  record << to_json(run_scenario(scenario, catalogues, {lane, order.at("seed").get<std::uint64_t>()}))
                .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return 0;
}

}  // namespace drought
