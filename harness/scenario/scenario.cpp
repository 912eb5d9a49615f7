#include "harness/scenario/scenario.hpp"

#include <algorithm>
#include <filesystem>

#include "harness/diagnose/diagnosis.hpp"
#include "harness/fault/plan.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {
namespace {

Position place_of(const Table& table, std::string_view key) {
  const Table::Entry* entry = table.find(key);
  return entry ? entry->value.at : table.at();
}

/// Runs `made` and turns a std::invalid_argument into a mistake at the table's place.
template <typename Made>
auto at_place(const Table& table, Position at, Made&& made) {
  try {
    return made();
  } catch (const TriggerMistake& mistake) {
    table.fail(mistake.at.line != 0 ? mistake.at : at, mistake.what());
  } catch (const std::invalid_argument& mistake) {
    table.fail(at, mistake.what());
  }
}

void require_one_of(const Table& table, std::string_view key, const std::string& word,
                    const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), word) == known.end())
    table.fail_unknown(place_of(table, key), std::string(key), word, known);
}

/// The `kind` of a section, which must be in the catalogue.
std::string kind_in(const Table& section, std::string_view what, const std::vector<std::string>& known) {
  const std::string kind = section.text_or("kind", "");
  if (kind.empty())
    section.fail(
        section.at(), std::string(what) + " needs a kind; known: " + [&] {
          std::string words;
          for (const std::string& word : known) words += (words.empty() ? "" : ", ") + word;
          return words;
        }());
  if (std::find(known.begin(), known.end(), kind) == known.end())
    section.fail_unknown(place_of(section, "kind"), what, kind, known);
  return kind;
}

DeviceSection read_device(const Table& section) {
  const auto device = read_options<DeviceSection>(section);
  at_place(section, place_of(section, "profile"), [&] { return profile_named(device.profile).total_bytes; });
  require_one_of(section, "work", device.work, {"full", "shapes"});
  for (const std::string& lane : device.lanes) require_one_of(section, "lanes", lane, {"host", "cuda"});
  if (device.count < 1 || device.count > 64)
    section.fail(place_of(section, "count"), "'count' must be 1 to 64");
  const Profile& profile = profile_named(device.profile);
  if (section.find("capacity_bytes") && device.capacity_bytes <= profile.context_bytes)
    section.fail(place_of(section, "capacity_bytes"),
                 "'capacity_bytes' is " + std::to_string(device.capacity_bytes) +
                     ", and a context alone takes " + std::to_string(profile.context_bytes));
  if (device.capacity_bytes > 16_TiB)
    section.fail(place_of(section, "capacity_bytes"), "'capacity_bytes' is over 16 TiB, which no device has");
  return device;
}

FaultSection read_fault(const Table& section, const Catalogues& catalogues) {
  FaultSection fault;
  fault.kind = kind_in(section, "fault", names_of(catalogues.faults));
  const Table when = section.table_or_empty("when");
  fault.when = read_options<Trigger::Options>(when);
  fault.when_at = when.at();
  fault.options = section.without({"kind", "when"});
  // Made once here, so that a mistake is told before anything runs.
  at_place(section, fault.when_at, [&] {
    Record record;
    Plan plan(record, 1);
    plan.arm(
        {fault.kind, find_entry(catalogues.faults, fault.kind)->make(fault.options), Trigger(fault.when)});
    return 0;
  });
  return fault;
}

/// What the scenario has none of, no condition can ask for.
void require_known(const Trigger::Options& when, const Scenario& scenario) {
  const auto named = [&](const Component& part) { return glob_matches(when.resource, part.name); };
  if (when.resource != "*" && std::none_of(scenario.resources.begin(), scenario.resources.end(), named)) {
    std::vector<std::string> known;
    for (const Component& part : scenario.resources) known.push_back(part.name);
    scenario.root.fail_unknown(when.at, "resource", when.resource, known);
  }
  if (when.rank >= scenario.device.count)
    scenario.root.fail(when.at, "there is no rank " + std::to_string(when.rank) + ": the device's count is " +
                                    std::to_string(scenario.device.count));
  for (const auto* parts : {&when.all, &when.any, &when.none})
    for (const Trigger::Options& part : *parts) require_known(part, scenario);
}

Expectation read_expectation(const Table& section, const Catalogues& catalogues) {
  const auto expect = read_options<Expectation>(section);
  require_one_of(section, "outcome", expect.outcome, {"completed", "clean_error", "fatal"});
  const std::vector<std::string> checks = names_of(catalogues.checks);
  if (!expect.caught_by.empty()) require_one_of(section, "caught_by", expect.caught_by, checks);
  for (const std::string& check : expect.checks) require_one_of(section, "checks", check, checks);
  if (!expect.diagnosis.empty())
    require_one_of(section, "diagnosis", expect.diagnosis,
                   {shortage_names().begin(), shortage_names().end()});
  if (!expect.caught_by.empty() && section.find("outcome"))
    section.fail(place_of(section, "outcome"), "a mutant says caught_by instead of outcome");
  return expect;
}

ReportSection read_report(const Table& section, const Expectation& expect) {
  const auto report = read_options<ReportSection>(section);
  if (section.empty()) return report;
  if (report.number.empty()) section.fail(section.at(), "a report needs its number");
  require_one_of(section, "class", report.kind, {shortage_names().begin(), shortage_names().end()});
  require_one_of(section, "closes", report.closes, {"numeric", "mechanism", "partly", "no"});
  if ((report.closes == "partly" || report.closes == "no") && report.note.empty())
    section.fail(place_of(section, "closes"), "'" + report.closes + "' needs a note that says why");
  if (expect.diagnosis.empty())
    section.fail(section.at(), "a report needs the diagnosis that [expect] names");
  return report;
}

}  // namespace

bool Scenario::runs_on(Lane lane) const {
  return std::find(device.lanes.begin(), device.lanes.end(), lane == Lane::host ? "host" : "cuda") !=
         device.lanes.end();
}

std::optional<std::vector<std::uint64_t>> Scenario::switches() const {
  if (!schedule) return std::nullopt;
  return std::vector<std::uint64_t>(schedule->switches.begin(), schedule->switches.end());
}

Scenario read_scenario(const Table& root, const Catalogues& catalogues) {
  root.allow_only({"title", "guards", "device", "resource", "workload", "schedule", "fault", "expect",
                   "sweep", "report"});
  Scenario scenario;
  scenario.path = root.file();
  scenario.root = root;
  scenario.title = root.text_or("title", "");
  scenario.guards = root.text_or("guards", "");
  if (scenario.title.empty()) root.fail({1, 1}, "a scenario needs a title, which is the claim it makes");
  scenario.device = read_device(root.table_or_empty("device"));
  std::vector<Component> beside;
  for (const Table& section : root.tables("resource")) {
    Component part{kind_in(section, "resource", names_of(catalogues.allocators)), {}, section};
    part.name = section.text_or("name", part.kind);
    part.options = section.without({"kind", "name", "beside"});
    if (const Table::Entry* const entry = section.find("beside")) reading::read(section, *entry, part.beside);
    const bool takes_upstream = find_entry(catalogues.allocators, part.kind)->takes_upstream;
    if (part.beside && takes_upstream)
      section.fail(place_of(section, "beside"),
                   "'" + part.kind + "' needs an upstream, which nothing beside the chain has");
    if (part.beside) {
      beside.push_back(std::move(part));
      continue;
    }
    if (takes_upstream && scenario.resources.empty())
      scenario.resources.push_back({"direct", "direct", Table(root.file(), section.at())});
    if (!takes_upstream && !scenario.resources.empty())
      section.fail(place_of(section, "kind"),
                   "'" + part.kind + "' borrows from the device, so it comes first");
    scenario.resources.push_back(std::move(part));
  }
  if (scenario.resources.empty())
    scenario.resources.push_back({"direct", "direct", Table(root.file(), {1, 1})});
  scenario.resources.insert(scenario.resources.begin(), std::make_move_iterator(beside.begin()),
                            std::make_move_iterator(beside.end()));
  if (!root.find("workload")) root.fail({1, 1}, "a scenario needs a [workload]");
  const Table workload = root.table_or_empty("workload");
  scenario.workload = {
      kind_in(workload, "workload", names_of(catalogues.workloads)), {}, workload.without({"kind"})};
  at_place(workload, workload.at(), [&] {
    (void)find_entry(catalogues.workloads, scenario.workload.kind)->make(scenario.workload.options);
    return 0;
  });
  for (const Table& section : root.tables("fault"))
    scenario.faults.push_back(read_fault(section, catalogues));
  for (const FaultSection& fault : scenario.faults) {
    require_known(fault.when, scenario);
    const auto made = find_entry(catalogues.faults, fault.kind)->make(fault.options);
    if (made->ends_context() && scenario.runs_on(Lane::cuda) && !scenario.device.isolate)
      root.fail(
          fault.options.at(),
          "fault '" + fault.kind + "' ends the context of a GPU's process: [device] needs isolate = true");
  }
  if (root.find("schedule")) {
    const Table section = root.table_or_empty("schedule");
    scenario.schedule = read_options<ScheduleSection>(section);
    const auto& switches = scenario.schedule->switches;
    if (!std::is_sorted(switches.begin(), switches.end()))
      section.fail(place_of(section, "switches"), "'switches' must ascend");
  }
  scenario.expect = read_expectation(root.table_or_empty("expect"), catalogues);
  scenario.report = read_report(root.table_or_empty("report"), scenario.expect);
  scenario.sweep = read_options<SweepSection>(root.table_or_empty("sweep"));
  return scenario;
}

Scenario parse_scenario(const std::string& text, const std::string& path, const Catalogues& catalogues) {
  Scenario scenario = read_scenario(parse_toml(text, path), catalogues);
  scenario.text = text;
  return scenario;
}

Scenario load_scenario(const std::string& path, const Catalogues& catalogues) {
  return parse_scenario(read_text_file(path), path, catalogues);
}

std::vector<std::string> scenario_files(const std::vector<std::string>& paths) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (fs::is_directory(path, error)) {
      for (const auto& entry : fs::recursive_directory_iterator(path))
        if (entry.path().extension() == ".toml") files.push_back(entry.path().lexically_normal().string());
    } else if (fs::exists(path, error)) {
      files.push_back(path);
    } else {
      throw UserError(path + ": there is no such file or folder");
    }
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace drought
