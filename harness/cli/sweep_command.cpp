// `drought sweep`: every call that a fault could strike, one run each.
#include <CLI/CLI.hpp>
#include <charconv>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/report/junit.hpp"
#include "harness/report/report.hpp"
#include "harness/sweep/sweep.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> paths;
  std::string filter = "*", json, junit, shard, journal;
  Lanes lanes;
  bool once = false, forever = false;
  SweepOptions sweep;
};

/// "2/5".
Shard shard_of(const std::string& text) {
  Shard shard;
  const auto slash = text.find('/');
  const auto number = [&](std::size_t begin, std::size_t end, std::size_t& value) {
    const auto [after, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    return error == std::errc() && after == text.data() + end && begin != end;
  };
  if (slash == std::string::npos || !number(0, slash, shard.index) ||
      !number(slash + 1, text.size(), shard.count) || shard.index == 0 || shard.index > shard.count)
    throw UserError("--shard takes part/parts such as 2/5, not '" + text + "'");
  return shard;
}

SweepOptions options_of(const Arguments& arguments, const Catalogues& catalogues) {
  SweepOptions options = arguments.sweep;
  options.lane = arguments.lanes.run_options().lane;
  options.seed = arguments.lanes.seed;
  if (arguments.once != arguments.forever) {
    options.once = arguments.once;
    options.forever = arguments.forever;
  }
  if (!arguments.shard.empty()) options.shard = shard_of(arguments.shard);
  if (options.pairs && arguments.forever) throw UserError("--pairs strikes each call once, not --forever");
  if (options.second != 0 && !options.pairs) throw UserError("--second is the second call of --pairs");
  if (options.fault != "default" && !find_entry(catalogues.faults, options.fault))
    Table("--fault", {1, 1}).fail_unknown({1, 1}, "fault", options.fault, names_of(catalogues.faults));
  bool some = false;
  for (int i = 0; i < site_count; ++i) some = some || glob_matches(options.site, name(static_cast<Site>(i)));
  if (!some) (void)site_of_user(options.site);
  return options;
}

std::unique_ptr<Journal> journal_of(const Arguments& arguments, const SweepOptions& options) {
  if (arguments.journal.empty()) return nullptr;
  auto journal = std::make_unique<Journal>(arguments.journal, campaign_text(options));
  if (journal->was_torn())
    std::cerr << "drought: the journal's last line was torn; what it answered is done again\n";
  return journal;
}

int sweep(const Arguments& arguments, const Catalogues& catalogues, const Hire& hire) {
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
    if (scenario.is_mutant() || !scenario.runs_on(options.lane)) {
      ++left_out;
    } else {
      scenarios.push_back(std::move(scenario));
    }
  }
  const auto journal = journal_of(arguments, options);
  const auto workforce = hire(arguments.lanes.workers());
  const std::vector<SweepResult> results =
      sweep_scenarios(scenarios, catalogues, options, *workforce, journal.get(),
                      [](const SweepResult& result) { print_line(std::cout, result); });
  print_table(std::cout, results);
  if (left_out) std::cout << left_out << " were left out: mutants and scenarios of the other lane\n";
  if (!arguments.json.empty()) write_json(arguments.json, "sweep", options.seed, results);
  if (!arguments.junit.empty()) write_junit(arguments.junit, "drought sweep", junit_cases(results));
  const auto good = [](const SweepResult& result) { return result.good(); };
  const auto skipped = [](const SweepResult& result) { return result.skipped; };
  if (std::all_of(results.begin(), results.end(), skipped)) return nothing_ran;
  return std::all_of(results.begin(), results.end(), good) ? as_expected : something_failed;
}

}  // namespace

Site site_of_user(const std::string& word) {
  try {
    return site_named(word);
  } catch (const std::invalid_argument& mistake) {
    throw UserError(mistake.what());
  }
}

Chosen add_sweep_command(CLI::App& app, const Catalogues& catalogues, const Hire& hire) {
  auto arguments = std::make_shared<Arguments>();
  SweepOptions& sweep_options = arguments->sweep;
  CLI::App* command =
      app.add_subcommand("sweep", "Strikes every call that a fault could strike, one run each");
  command->add_option("paths", arguments->paths, "Files and folders")->required();
  command->add_option("--fault", sweep_options.fault,
                      "The kind of fault; default: what each call documents first, before and after it");
  command->add_option("--site", sweep_options.site, "Only sites that match this glob");
  command->add_flag("--once", arguments->once, "Only strikes that end after one call");
  command->add_flag("--forever", arguments->forever, "Only strikes that go on");
  command->add_flag("--pairs", sweep_options.pairs, "Strikes two calls of a run");
  command->add_flag("--unique-stacks", sweep_options.unique_stacks,
                    "Only the first call from each call stack");
  command->add_flag("--all", sweep_options.all, "Every point, whatever the scenario's points_max");
  command->add_option("--points-max", sweep_options.points_max, "In place of each scenario's points_max")
      ->check(CLI::PositiveNumber);
  command->add_option("--shard", arguments->shard, "i/n: only this part of the points");
  command->add_option("--point", sweep_options.point, "Only the call with this number")
      ->check(CLI::PositiveNumber);
  command->add_option("--second", sweep_options.second, "Of --pairs: only this second call")
      ->check(CLI::PositiveNumber);
  command->add_option("--resume", arguments->journal,
                      "Keeps every answer in this folder, and goes on from those that are there");
  arguments->lanes.add_to(*command);
  command->add_option("--filter", arguments->filter, "Only files whose path matches this glob");
  command->add_option("--json", arguments->json, "Writes the results to this file");
  command->add_option("--junit", arguments->junit, "Writes the results to this file as JUnit's XML");
  return [arguments, &catalogues, &hire] { return sweep(*arguments, catalogues, hire); };
}

}  // namespace drought
