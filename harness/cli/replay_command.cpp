// `drought replay`: a recorded trace through the allocator that it was recorded from, decision for decision;
// or, with another allocator, other options or another capacity, the same requests and whether they fit.
#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/report/report.hpp"
#include "harness/trace/chrome_writer.hpp"
#include "harness/trace/readers.hpp"
#include "harness/trace/snapshot_writer.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> traces, settings;
  std::string allocator = "caching", json, capacity, snapshot, chrome;
  bool finds_capacity = false;

  bool writes() const { return !snapshot.empty() || !chrome.empty(); }
  /// Whether the question is another than how the trace's own allocator decided.
  bool asks_what_if() const {
    return allocator != "caching" || finds_capacity || !capacity.empty() || !settings.empty();
  }
};

/// "1.5GiB": parse_size's whole numbers, and fractions of a unit to the nearest byte.
std::size_t capacity_of_user(const std::string& text) {
  try {
    const std::size_t point = text.find('.');
    if (point == std::string::npos) return parse_size(text);
    const std::size_t unit = std::min(text.find_first_not_of("0123456789", point + 1), text.size());
    if (unit == point + 1 || unit - point > 10 || text.find('.', unit) != std::string::npos)
      throw std::invalid_argument("size '" + text + "' is no number");
    const std::size_t whole = parse_size(text.substr(0, point) + text.substr(unit));
    const double fraction = std::stod("0" + text.substr(point, unit - point));
    const auto rest = fraction * static_cast<double>(parse_size("1" + text.substr(unit)));
    return whole + static_cast<std::size_t>(std::llround(rest));
  } catch (const std::invalid_argument& mistake) {
    throw UserError(std::string("--capacity: ") + mistake.what());
  }
}

/// Each "key=value" as a line of TOML; a bare word is a string, so that a shell needs no second quotes.
Table settings_of_user(const std::vector<std::string>& settings) {
  std::string text;
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == 0 || equals == std::string::npos || setting.find('\n') != std::string::npos)
      throw UserError("--set: '" + setting + "' is not key=value");
    std::string value = setting.substr(equals + 1);
    try {
      parse_toml("x = " + value, "--set");
    } catch (const UserError&) {
      if (!value.empty() && value.find_first_of("'\"[]{}#=") == std::string::npos) value = "'" + value + "'";
    }
    text += setting.substr(0, equals) + " = " + value + "\n";
  }
  return parse_toml(text, "--set");
}

class Replay {
 public:
  Replay(const Arguments& arguments, const Catalogues& catalogues)
      : arguments_(arguments),
        catalogues_(catalogues),
        allocator_(find_entry(catalogues.allocators, arguments.allocator)),
        settings_(settings_of_user(arguments.settings)) {
    if (!allocator_)
      Table("--allocator", {1, 1})
          .fail_unknown({1, 1}, "allocator", arguments.allocator, names_of(catalogues.allocators));
    if (arguments.writes() && arguments.traces.size() != 1)
      throw UserError("--write-snapshot and --write-chrome write one trace; there are " +
                      std::to_string(arguments.traces.size()));
    if (!arguments.capacity.empty()) capacity_bytes_ = capacity_of_user(arguments.capacity);
    if (!arguments.capacity.empty() && (capacity_bytes_ == 0 || capacity_bytes_ > 64_TiB))
      throw UserError("--capacity: '" + arguments.capacity + "' is outside 1 B to 64 TiB");
  }

  ReplayReport one(const std::string& path) const {
    try {
      const Trace trace = read_trace(path);
      const bool has_decisions = trace.recorder == "pytorch";
      ReplayReport report;
      if (has_decisions && !arguments_.asks_what_if()) report.result = compare(trace);
      if (has_decisions && !arguments_.asks_what_if() && !arguments_.writes()) return report;
      RefitRun run = what_if(trace);
      write(run.recorded);
      return has_decisions && !arguments_.asks_what_if() ? report : run.report;
    } catch (const TraceError& error) {
      throw UserError(error.what());
    }
  }

 private:
  ReplayResult compare(const Trace& trace) const {
    return replay(trace, [&](Resource& upstream, Device& device) {
      return allocator_->make(settings_, &upstream, device);
    });
  }

  RefitRun what_if(const Trace& trace) const {
    const auto chain = [&](Device& device) {
      ResourceChain made;
      if (allocator_->takes_upstream)
        made.push_back(find_entry(catalogues_.allocators, "direct")->make(Table(), nullptr, device));
      Resource* const below = made.empty() ? nullptr : made.back().get();
      try {
        made.push_back(allocator_->make(settings_, below, device));
      } catch (const std::invalid_argument& mistake) {
        throw UserError("--set: " + arguments_.allocator + ": " + mistake.what());
      }
      return made;
    };
    return refit(trace, chain,
                 {.allocator = arguments_.allocator,
                  .capacity_bytes = capacity_bytes_,
                  .finds_capacity = arguments_.finds_capacity,
                  .records = arguments_.writes()});
  }

  void write(const Trace& recorded) const {
    if (!arguments_.snapshot.empty()) write_snapshot(arguments_.snapshot, recorded);
    if (!arguments_.chrome.empty()) write_chrome(arguments_.chrome, recorded);
  }

  const Arguments& arguments_;
  const Catalogues& catalogues_;
  const AllocatorEntry* const allocator_;
  const Table settings_;
  std::size_t capacity_bytes_ = 0;
};

int replay(const Arguments& arguments, const Catalogues& catalogues) {
  const Replay command(arguments, catalogues);
  std::vector<ReplayReport> reports;
  bool all_good = true;
  for (const std::string& trace : arguments.traces) {
    const ReplayReport& report = reports.emplace_back(command.one(trace));
    print_line(std::cout, report);
    all_good =
        all_good && report.result.differences.value_or(0) == 0 && (!report.refit || report.refit->fits);
  }
  if (!arguments.json.empty()) write_json(arguments.json, "replay", 1, reports);
  return all_good ? as_expected : something_failed;
}

}  // namespace

Chosen add_replay_command(CLI::App& app, const Catalogues& catalogues) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "replay",
      "Replays recorded traces: decision for decision, or what if the allocator or the device differed");
  command
      ->add_option("traces", arguments->traces, "PyTorch snapshots, Nsight Systems' SQLite, RMM or BFC logs")
      ->required();
  command->add_option("--allocator", arguments->allocator, "Of the catalogue; caching is PyTorch's");
  command->add_option("--capacity", arguments->capacity, "What the allocator may borrow, such as 1.5GiB");
  command->add_flag("--find-capacity", arguments->finds_capacity,
                    "Finds the least capacity that serves the trace");
  command
      ->add_option("--set", arguments->settings,
                   "An option of the allocator: key=value, the value as in TOML")
      ->take_all();
  command->add_option("--write-snapshot", arguments->snapshot,
                      "Writes what the allocator did as a snapshot for PyTorch's memory_viz");
  command->add_option("--write-chrome", arguments->chrome, "The same as a timeline for Perfetto");
  command->add_option("--json", arguments->json, "Writes the results to this file");
  return [arguments, &catalogues] { return replay(*arguments, catalogues); };
}

}  // namespace drought
