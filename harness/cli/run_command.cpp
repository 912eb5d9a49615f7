// `drought run`: scenario files and folders, a line each and a table last.
#include <CLI/CLI.hpp>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/report/junit.hpp"
#include "harness/report/report.hpp"
#include "harness/sweep/orders.hpp"
#include "harness/work/campaign.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> paths;
  std::string filter = "*", json, junit;
  Lanes lanes;
};

/// Every scenario, each result printed in the order of the files as soon as it is known.
std::vector<RunResult> run_all(const std::vector<Scenario>& scenarios, const RunOptions& options,
                               Workforce& workforce) {
  std::vector<std::optional<RunResult>> known(scenarios.size());
  std::size_t told = 0;
  Campaign campaign(workforce, nullptr);
  for (std::size_t i = 0; i < scenarios.size(); ++i)
    campaign.add([&, i] { return run_order(scenarios[i], options); },
                 [&, i](const Done& done) {
                   known[i] = run_answer(done, scenarios[i], options);
                   for (; told < known.size() && known[told]; ++told) print_line(std::cout, *known[told]);
                 });
  campaign.run([] { return false; });
  std::vector<RunResult> results;
  for (std::optional<RunResult>& result : known) results.push_back(*std::move(result));
  return results;
}

int run(const Arguments& arguments, const Catalogues& catalogues, const Hire& hire) {
  const RunOptions options = arguments.lanes.run_options();
  if (const std::string why = lane_missing(options.lane); !why.empty()) {
    std::cerr << "drought: nothing ran: " << why << '\n';
    return nothing_ran;
  }
  // Every file is read before any runs: a typing mistake in the last costs nothing.
  std::vector<Scenario> scenarios;
  for (const std::string& file : scenario_files(arguments.paths))
    if (glob_matches(arguments.filter, file)) scenarios.push_back(load_scenario(file, catalogues));
  const auto workforce = hire(arguments.lanes.workers());
  const std::vector<RunResult> results = run_all(scenarios, options, *workforce);
  print_table(std::cout, results);
  if (!arguments.json.empty()) write_json(arguments.json, "run", options.seed, results);
  if (!arguments.junit.empty()) write_junit(arguments.junit, "drought run", junit_cases(results));
  const auto ran = [](const RunResult& result) { return result.verdict != Verdict::skipped; };
  const auto good = [](const RunResult& result) { return is_good(result.verdict); };
  if (std::none_of(results.begin(), results.end(), ran)) return nothing_ran;
  return std::all_of(results.begin(), results.end(), good) ? as_expected : something_failed;
}

}  // namespace

Chosen add_run_command(CLI::App& app, const Catalogues& catalogues, const Hire& hire) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("run", "Runs scenario files and folders");
  command->add_option("paths", arguments->paths, "Files and folders")->required();
  arguments->lanes.add_to(*command);
  command->add_option("--filter", arguments->filter, "Only files whose path matches this glob");
  command->add_option("--json", arguments->json, "Writes the results to this file");
  command->add_option("--junit", arguments->junit, "Writes the results to this file as JUnit's XML");
  return [arguments, &catalogues, &hire] { return run(*arguments, catalogues, hire); };
}

}  // namespace drought
