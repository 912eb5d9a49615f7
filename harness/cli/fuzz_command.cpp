// `drought fuzz`: property-based runs of workloads; what fails is shrunk and written as a scenario.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/fuzz/fuzz.hpp"
#include "harness/report/report.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> workloads, set;
  std::string folder = ".", json;
  std::uint64_t runs = 1000;
  bool no_faults = false;
  Lanes lanes;
};

/// "bug=stale_read": a value that is no number or truth is text.
std::pair<std::string, std::string> option_of(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw UserError("--set takes key=value, not '" + text + "'");
  const std::string value = text.substr(equals + 1);
  const bool bare = value == "true" || value == "false" ||
                    (!value.empty() && value.find_first_not_of("0123456789") == std::string::npos);
  return {text.substr(0, equals), bare ? value : "\"" + value + "\""};
}

/// Writes what was found, and puts the file's path into the command.
void write_finding(const Arguments& arguments, FuzzResult& result) {
  const std::string path =
      arguments.folder + "/fuzz_" + result.workload + "_" + std::to_string(arguments.lanes.seed) + ".toml";
  std::ofstream out(path);
  out << result.scenario;
  if (!out.flush()) throw UserError(path + ": cannot be written");
  if (const auto file = result.repeat.find("FILE"); file != std::string::npos)
    result.repeat.replace(file, 4, path);
}

int fuzz_all(const Arguments& arguments, const Catalogues& catalogues, const Hire& hire) {
  const RunOptions run = arguments.lanes.run_options();
  if (const std::string why = lane_missing(run.lane); !why.empty()) {
    std::cerr << "drought: nothing ran: " << why << '\n';
    return nothing_ran;
  }
  FuzzOptions options{
      .lane = run.lane, .seed = run.seed, .runs = arguments.runs, .faults = !arguments.no_faults};
  for (const std::string& text : arguments.set) options.set.push_back(option_of(text));
  // One worker: each attempt at shrinking hangs on the one before.
  Crew::Options workers = arguments.lanes.workers();
  workers.workers = 1;
  const auto workforce = hire(workers);
  std::vector<std::string> workloads = arguments.workloads;
  if (workloads.empty())
    for (const WorkloadEntry& entry : catalogues.workloads)
      if (entry.drawn.any()) workloads.emplace_back(entry.name);
  std::vector<FuzzResult> results;
  bool good = true;
  for (const std::string& workload : workloads) {
    FuzzResult result = fuzz(workload, catalogues, options, *workforce);
    if (!result.scenario.empty()) write_finding(arguments, result);
    print_line(std::cout, result);
    good = good && result.scenario.empty();
    results.push_back(std::move(result));
  }
  if (!arguments.json.empty()) write_json(arguments.json, "fuzz", run.seed, results);
  return good ? as_expected : something_failed;
}

}  // namespace

Chosen add_fuzz_command(CLI::App& app, const Catalogues& catalogues, const Hire& hire) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("fuzz", "Draws scenarios of a workload, and shrinks what fails");
  command->add_option("workloads", arguments->workloads,
                      "Names of workloads; default: every one that can be drawn");
  command->add_option("--runs", arguments->runs, "Scenarios to draw")->check(CLI::PositiveNumber);
  command->add_flag("--no-faults", arguments->no_faults, "Sizes and interleavings alone");
  command->add_option("--set", arguments->set, "key=value: an option of the workload that is not drawn");
  command->add_option("--write", arguments->folder, "The folder for what is found")
      ->check(CLI::ExistingDirectory);
  arguments->lanes.add_to(*command);
  command->add_option("--json", arguments->json, "Writes the results to this file");
  return [arguments, &catalogues, &hire] { return fuzz_all(*arguments, catalogues, hire); };
}

}  // namespace drought
