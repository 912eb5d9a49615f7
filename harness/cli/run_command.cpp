// `drought run`: scenario files and folders, a line each and a table last; and the words that the other
// commands share with it.
#include <CLI/CLI.hpp>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/report/junit.hpp"
#include "harness/report/report.hpp"
#include "harness/scenario/isolate.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> paths;
  std::string device = "host", filter = "*", json, junit;
  std::uint64_t seed = 1;
};

int run(const Arguments& arguments, const Catalogues& catalogues) {
  const Lane lane = lane_named(arguments.device);
  if (const std::string why = lane_missing(lane); !why.empty()) {
    std::cerr << "drought: nothing ran: " << why << '\n';
    return nothing_ran;
  }
  // Every file is read before any runs: a typing mistake in the last costs nothing.
  std::vector<Scenario> scenarios;
  for (const std::string& file : scenario_files(arguments.paths))
    if (glob_matches(arguments.filter, file)) scenarios.push_back(load_scenario(file, catalogues));
  std::vector<RunResult> results;
  bool all_good = true;
  std::size_t ran = 0;
  for (const Scenario& scenario : scenarios) {
    results.push_back(run_as_asked(scenario, catalogues, {lane, arguments.seed}));
    print_line(std::cout, results.back());
    all_good = all_good && is_good(results.back().verdict);
    ran += results.back().verdict != Verdict::skipped;
  }
  print_table(std::cout, results);
  if (!arguments.json.empty()) write_json(arguments.json, "run", arguments.seed, results);
  if (!arguments.junit.empty()) write_junit(arguments.junit, "drought run", junit_cases(results));
  return ran == 0 ? nothing_ran : all_good ? as_expected : something_failed;
}

}  // namespace

Chosen add_run_command(CLI::App& app, const Catalogues& catalogues) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("run", "Runs scenario files and folders");
  command->add_option("paths", arguments->paths, "Files and folders")->required();
  command->add_option("--device", arguments->device, "host or cuda");
  command->add_option("--seed", arguments->seed, "Of every choice of the run")->check(CLI::NonNegativeNumber);
  command->add_option("--filter", arguments->filter, "Only files whose path matches this glob");
  command->add_option("--json", arguments->json, "Writes the results to this file");
  command->add_option("--junit", arguments->junit, "Writes the results to this file as JUnit's XML");
  return [arguments, &catalogues] { return run(*arguments, catalogues); };
}

Lane lane_named(const std::string& word) {
  if (word == "host") return Lane::host;
  if (word == "cuda") return Lane::cuda;
  throw UserError("unknown device '" + word + "'; known: host, cuda");
}

std::string lane_missing(Lane lane) {
  if (lane == Lane::host) return {};
  std::string why_not;
  return make_cuda_device(profile_named("h200"), {}, why_not) ? std::string() : why_not;
}

}  // namespace drought
