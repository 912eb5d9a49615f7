// `drought list`: what the catalogues hold, a line each.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "harness/cli/commands.hpp"
#include "harness/scenario/scenario.hpp"

namespace drought {
namespace {

struct Arguments {
  std::string what, filter = "*", json;
  std::vector<std::string> paths{"scenarios"};
};

struct Line {
  std::string name, summary;
  std::vector<std::string> lanes{};  ///< Of a scenario: where it runs.
};

template <typename Entry>
std::vector<Line> lines_of(std::span<const Entry> entries) {
  std::vector<Line> lines;
  for (const Entry& entry : entries) lines.push_back({std::string(entry.name), std::string(entry.summary)});
  return lines;
}

std::vector<Line> device_lines() {
  std::vector<Line> lines;
  for (const Profile& profile : profiles())
    lines.push_back(
        {std::string(profile.name), format_bytes(profile.total_bytes) + "; " + std::string(profile.source)});
  return lines;
}

std::vector<Line> scenario_lines(const Arguments& arguments, const Catalogues& catalogues) {
  std::vector<Line> lines;
  for (const std::string& file : scenario_files(arguments.paths)) {
    if (!glob_matches(arguments.filter, file)) continue;
    const Scenario scenario = load_scenario(file, catalogues);
    lines.push_back(
        {file, scenario.title + (scenario.is_mutant() ? " [mutant]" : ""), scenario.device.lanes});
  }
  return lines;
}

/// Number, class, how far the figures close, and the file that re-enacts it.
std::vector<Line> report_lines(const std::vector<std::string>& paths, const Catalogues& catalogues) {
  std::vector<Line> lines;
  for (const std::string& file : scenario_files(paths)) {
    const Scenario scenario = load_scenario(file, catalogues);
    const ReportSection& report = scenario.report;
    if (report.number.empty()) continue;
    const std::string& finer = scenario.expect.diagnosis;
    lines.push_back({report.number, report.kind + (finer == report.kind ? "" : " (" + finer + ")") + ", " +
                                        report.closes + ": " + file});
  }
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
    return std::tie(a.name, a.summary) < std::tie(b.name, b.summary);
  });
  return lines;
}

int list(const Arguments& arguments, const Catalogues& catalogues) {
  std::vector<Line> lines;
  if (arguments.what == "devices") {
    lines = device_lines();
  } else if (arguments.what == "allocators") {
    lines = lines_of(catalogues.allocators);
  } else if (arguments.what == "kernels") {
    lines = lines_of(catalogues.kernels);
  } else if (arguments.what == "faults") {
    lines = lines_of(catalogues.faults);
  } else if (arguments.what == "workloads") {
    lines = lines_of(catalogues.workloads);
  } else if (arguments.what == "checks") {
    lines = lines_of(catalogues.checks);
  } else if (arguments.what == "scenarios") {
    lines = scenario_lines(arguments, catalogues);
  } else if (arguments.what == "reports") {
    lines = report_lines(arguments.paths, catalogues);
  } else {
    throw UserError("unknown list '" + arguments.what +
                    "'; known: devices, allocators, kernels, faults, workloads, checks, scenarios, reports");
  }
  nlohmann::json results = nlohmann::json::array();
  for (const Line& line : lines) {
    const std::size_t gap = line.name.size() < 28 ? 28 - line.name.size() : 1;
    std::cout << line.name << std::string(gap, ' ') << line.summary << '\n';
    results.push_back({{"name", line.name}, {"summary", line.summary}});
    if (!line.lanes.empty()) results.back()["lanes"] = line.lanes;
  }
  if (!arguments.json.empty()) {
    std::ofstream out(arguments.json);
    out << nlohmann::json{{"command", "list"},
                          {"seed", 1},
                          {"version", DROUGHT_VERSION},
                          {"results", results}}
               .dump(2)
        << '\n';
    if (!out.flush()) throw UserError(arguments.json + ": cannot be written");
  }
  return lines.empty() ? nothing_ran : as_expected;
}

}  // namespace

Chosen add_list_command(CLI::App& app, const Catalogues& catalogues) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("list", "What there is, a line each");
  command
      ->add_option("what", arguments->what,
                   "devices, allocators, kernels, faults, workloads, checks, scenarios, reports")
      ->required();
  command->add_option("--in", arguments->paths, "Folders to list scenarios of");
  command->add_option("--filter", arguments->filter, "Only scenarios whose path matches this glob");
  command->add_option("--json", arguments->json, "Writes the list to this file");
  return [arguments, &catalogues] { return list(*arguments, catalogues); };
}

}  // namespace drought
