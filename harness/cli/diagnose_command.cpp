// `drought diagnose`: what kind of shortage a log, a snapshot or a report of a run tells of, with the
// numbers and where each stands; and, on request, the scenario that comes to the same.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "harness/cli/commands.hpp"
#include "harness/diagnose/diagnosis.hpp"
#include "harness/diagnose/log_reader.hpp"
#include "harness/diagnose/reproduction.hpp"
#include "harness/diagnose/trace_figures.hpp"
#include "harness/sweep/orders.hpp"
#include "harness/trace/readers.hpp"

namespace drought {
namespace {

struct Arguments {
  std::string file, write, json;
};

/// A pickle or a database, which begin as no text does.
bool is_binary(const std::string& start) {
  return start.starts_with('\x80') || start.starts_with("SQLite format 3");
}

Figures trace_figures(const std::string& path) {
  try {
    return figures_of(read_trace(path));
  } catch (const TraceError& error) {
    throw UserError(error.what());
  }
}

Figures read_figures(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string start(16, '\0');
  if (!in || !in.read(start.data(), 1)) throw UserError(path + ": cannot be read, or is empty");
  in.read(start.data() + 1, static_cast<std::streamsize>(start.size()) - 1);
  if (is_binary(start)) return trace_figures(path);
  in.clear();
  in.seekg(0);
  LogReader reader;
  reader.read(in);
  if (reader.understood() != 0) return reader.figures();
  // What tells nothing as a log may be a recording: RMM's, for one, is text.
  try {
    return figures_of(read_trace(path));
  } catch (const TraceError&) {
    throw UserError(path + ":" + std::to_string(reader.lines()) +
                    ":1: no out of memory in any known wording up to here, and no known recording");
  }
}

template <typename Visit>
void for_each_figure(const Figures& figures, Visit&& visit) {
  std::apply(
      [&](const auto&... keys) {
        ((figures.*keys.member ? visit(keys.name, *(figures.*keys.member)) : void()), ...);
      },
      Figures::keys());
}

void print(const std::string& path, const Figures& figures, const Diagnosis& diagnosis) {
  std::cout << name(diagnosis.shortage) << ": " << diagnosis.sentence << '\n';
  for_each_figure(figures, [&](std::string_view what, const Figure& figure) {
    std::cout << "  " << std::left << std::setw(18) << what << std::setw(14) << figure.text() << path << ':'
              << figure.line << '\n';
  });
  std::cout << "rule " << diagnosis.rule
            << (diagnosis.source.empty() ? "" : ", after " + std::string(diagnosis.source)) << '\n';
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  if (!out.flush()) throw UserError(path + ": cannot be written");
}

/// Writes the scenario, runs it, and answers whether it came to the same diagnosis.
bool write_scenario(const Arguments& arguments, const Figures& figures, const Diagnosis& diagnosis,
                    const Catalogues& catalogues) {
  const auto text = reproduction(figures, diagnosis, arguments.file);
  if (!text) {
    std::cerr << "drought: no scenario was written: the figures do not tell enough to reproduce "
              << name(diagnosis.shortage) << '\n';
    return false;
  }
  write_text(arguments.write, *text);
  const RunResult result = run_isolated(load_scenario(arguments.write, catalogues), {});
  std::cout << "written: " << arguments.write << ", which comes to " << result.diagnosis << ": "
            << name(result.verdict) << (result.why.empty() ? "" : ": " + result.why) << '\n';
  return is_good(result.verdict);
}

void write_report(const Arguments& arguments, const Figures& figures, const Diagnosis& diagnosis) {
  nlohmann::json all = nlohmann::json::object();
  for_each_figure(figures, [&](std::string_view what, const Figure& figure) {
    all[std::string(what)] = {
        {"value", figure.value}, {"unit", figure.unit}, {"rounding", figure.rounding}, {"line", figure.line}};
  });
  const nlohmann::json result{{"file", arguments.file},         {"diagnosis", name(diagnosis.shortage)},
                              {"sentence", diagnosis.sentence}, {"rule", diagnosis.rule},
                              {"source", diagnosis.source},     {"figures", all},
                              {"scenario", arguments.write}};
  const nlohmann::json report{
      {"command", "diagnose"}, {"seed", 1}, {"version", DROUGHT_VERSION}, {"results", {result}}};
  write_text(arguments.json, report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

int diagnose_file(const Arguments& arguments, const Catalogues& catalogues) {
  const Figures figures = read_figures(arguments.file);
  const Diagnosis diagnosis = diagnose(figures);
  print(arguments.file, figures, diagnosis);
  bool reproduced = true;
  if (!arguments.write.empty()) reproduced = write_scenario(arguments, figures, diagnosis, catalogues);
  if (!arguments.json.empty()) write_report(arguments, figures, diagnosis);
  return reproduced ? as_expected : something_failed;
}

}  // namespace

Chosen add_diagnose_command(CLI::App& app, const Catalogues& catalogues) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "diagnose", "Says what kind of shortage a log or a snapshot tells of, with the numbers");
  command->add_option("file", arguments->file, "A log with an out of memory, or a PyTorch snapshot")
      ->required();
  command->add_option("--write", arguments->write, "Writes the scenario that reproduces it, and runs it");
  command->add_option("--json", arguments->json, "Writes the diagnosis to this file");
  return [arguments, &catalogues] { return diagnose_file(*arguments, catalogues); };
}

}  // namespace drought
