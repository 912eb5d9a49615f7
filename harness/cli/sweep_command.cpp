// `drought sweep`: every call that a fault could strike, one run each.
#include <CLI/CLI.hpp>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/report/report.hpp"
#include "harness/simt/needs_library.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> paths;
  std::string device = "host", filter = "*", json, fault = "default", site = "*";
  std::uint64_t seed = 1, point = 0;
  bool once = false, forever = false, all = false;
};

SweepOptions options_of(const Arguments& arguments, const Catalogues& catalogues) {
  SweepOptions options;
  options.lane = lane_named(arguments.device);
  options.seed = arguments.seed;
  options.fault = arguments.fault;
  options.site = arguments.site;
  options.all = arguments.all;
  options.point = arguments.point;
  if (arguments.once != arguments.forever) {
    options.once = arguments.once;
    options.forever = arguments.forever;
  }
  if (options.fault != "default" && !find_entry(catalogues.faults, options.fault))
    Table("--fault", {1, 1}).fail_unknown({1, 1}, "fault", options.fault, names_of(catalogues.faults));
  bool some = false;
  for (int i = 0; i < site_count; ++i) some = some || glob_matches(options.site, name(static_cast<Site>(i)));
  if (!some) (void)site_of_user(options.site);
  return options;
}

int sweep(const Arguments& arguments, const Catalogues& catalogues) {
  const SweepOptions options = options_of(arguments, catalogues);
  if (const std::string why = lane_missing(options.lane); !why.empty()) {
    std::cerr << "drought: nothing ran: " << why << '\n';
    return nothing_ran;
  }
  std::vector<Scenario> scenarios;
  std::size_t left_out = 0;
  for (const std::string& file : scenario_files(arguments.paths)) {
    if (!glob_matches(arguments.filter, file)) continue;
    Scenario scenario = load_scenario(file, catalogues);
    // On a GPU the first such run would end this process's context, and every later one with it.
    const bool ends_context = scenario.device.isolate && options.lane == Lane::cuda;
    if (scenario.is_mutant() || !scenario.runs_on(options.lane) || ends_context) {
      ++left_out;
    } else {
      scenarios.push_back(std::move(scenario));
    }
  }
  std::vector<SweepResult> results;
  bool all_good = true;
  for (const Scenario& scenario : scenarios) {
    try {
      results.push_back(sweep_scenario(scenario, catalogues, options));
    } catch (const MissingLibrary& missing) {
      std::cout << "skipped " << scenario.path << ": " << missing.what() << '\n';
      continue;
    }
    print_line(std::cout, results.back());
    all_good = all_good && results.back().good();
  }
  print_table(std::cout, results);
  if (left_out)
    std::cout << left_out
              << " were left out: mutants, scenarios of the other lane, and those that end a GPU's context\n";
  if (!arguments.json.empty()) write_json(arguments.json, "sweep", arguments.seed, results);
  return results.empty() ? nothing_ran : all_good ? as_expected : something_failed;
}

}  // namespace

Site site_of_user(const std::string& word) {
  try {
    return site_named(word);
  } catch (const std::invalid_argument& mistake) {
    throw UserError(mistake.what());
  }
}

Chosen add_sweep_command(CLI::App& app, const Catalogues& catalogues) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("sweep", "Strikes every call that a fault could strike, one run each");
  command->add_option("paths", arguments->paths, "Files and folders")->required();
  command->add_option("--fault", arguments->fault,
                      "The kind of fault; default: what each call documents first");
  command->add_option("--site", arguments->site, "Only sites that match this glob");
  command->add_flag("--once", arguments->once, "Only strikes that end after one call");
  command->add_flag("--forever", arguments->forever, "Only strikes that go on");
  command->add_flag("--all", arguments->all, "Every point, whatever the scenario's points_max");
  command->add_option("--point", arguments->point, "Only the call with this number")
      ->check(CLI::PositiveNumber);
  command->add_option("--device", arguments->device, "host or cuda");
  command->add_option("--seed", arguments->seed, "Of every choice of the run")->check(CLI::NonNegativeNumber);
  command->add_option("--filter", arguments->filter, "Only files whose path matches this glob");
  command->add_option("--json", arguments->json, "Writes the results to this file");
  return [arguments, &catalogues] { return sweep(*arguments, catalogues); };
}

}  // namespace drought
