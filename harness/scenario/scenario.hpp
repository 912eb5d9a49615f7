// A scenario: one TOML file, parsed and validated against the catalogues before anything runs.
//
//   title, guards                        what it claims, and which real event it comes from
//   [device] profile, capacity_bytes, count, work, lanes, peer_bytes, steps_max, isolate
//   [[resource]] kind, name + the allocator's options    the chain, base first; absent: direct
//   [[resource]] …, beside = true      not of the chain: over the device by itself, found by its name
//   [workload] kind + its options
//   [[fault]] kind, when = { trigger }, + the fault's options
//   [expect] outcome, attempts, message, caught_by, checks, decisions, diagnosis
//   [report] number, class, closes, note      of a scenario that re-enacts a report of running out of memory
//   [sweep] points_max, skip
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/fault/trigger.hpp"
#include "harness/scenario/catalogues.hpp"
#include "harness/scenario/table.hpp"

namespace drought {

struct Expectation {
  std::string outcome = "completed";   ///< completed, clean_error or fatal.
  std::string message;                 ///< A substring of what was thrown.
  std::string caught_by;               ///< A mutant's check; empty for what is not a mutant.
  std::int64_t attempts = -1;          ///< -1: any number.
  std::vector<std::string> checks;     ///< Checks that must have had something to judge.
  std::vector<std::string> decisions;  ///< Figures the workload must have recorded, word for word.
  std::string diagnosis;               ///< The kind of shortage that the record must show; empty: any.
  static constexpr auto keys() {
    return std::tuple{key("outcome", &Expectation::outcome),     key("message", &Expectation::message),
                      key("caught_by", &Expectation::caught_by), key("attempts", &Expectation::attempts),
                      key("checks", &Expectation::checks),       key("decisions", &Expectation::decisions),
                      key("diagnosis", &Expectation::diagnosis)};
  }
};

/// The report that a scenario re-enacts.
struct ReportSection {
  std::string number;  ///< "OOM-01"; empty: the scenario re-enacts none.
  std::string kind;    ///< The class that the report was given; [expect] diagnosis may be finer.
  std::string closes;  ///< How far the figures are reproduced: numeric, mechanism, partly or no.
  std::string note;    ///< What is not reproduced, where closes is partly or no.
  static constexpr auto keys() {
    return std::tuple{key("number", &ReportSection::number), key("class", &ReportSection::kind),
                      key("closes", &ReportSection::closes), key("note", &ReportSection::note)};
  }
};

struct DeviceSection {
  std::string profile = "h200";
  std::size_t capacity_bytes = 0;  ///< 0: the profile's.
  int count = 1;                   ///< One a rank.
  std::string work = "full";       ///< full or shapes.
  std::vector<std::string> lanes{"host", "cuda"};
  std::vector<std::size_t> peer_bytes;  ///< Other processes that hold this much from the start.
  std::uint64_t steps_max = 10'000'000;
  std::size_t host_register_limit_bytes = 0;  ///< 0: the profile's.
  bool isolate = false;                       ///< Runs in a process of its own: it may end its context.
  static constexpr auto keys() {
    return std::tuple{key("profile", &DeviceSection::profile),
                      key("capacity_bytes", &DeviceSection::capacity_bytes),
                      key("count", &DeviceSection::count),
                      key("work", &DeviceSection::work),
                      key("lanes", &DeviceSection::lanes),
                      key("peer_bytes", &DeviceSection::peer_bytes),
                      key("steps_max", &DeviceSection::steps_max),
                      key("isolate", &DeviceSection::isolate),
                      key("host_register_limit_bytes", &DeviceSection::host_register_limit_bytes)};
  }
};

struct SweepSection {
  std::size_t points_max = 25;  ///< More are thinned to this many; `drought sweep --all` strikes them all.
  std::vector<std::string>
      skip;  ///< Sites (globs) that a sweep leaves alone here, each with a reason in `why`.
  std::string why;
  static constexpr auto keys() {
    return std::tuple{key("points_max", &SweepSection::points_max), key("skip", &SweepSection::skip),
                      key("why", &SweepSection::why)};
  }
};

/// An entry of a catalogue and the options the file gives it.
struct Component {
  std::string kind, name;
  Table options;
  bool beside = false;  ///< A resource that is no part of the chain.
};

struct FaultSection {
  std::string kind;
  Trigger::Options when;
  Position when_at;
  Table options;
};

struct Scenario {
  std::string path, title, guards;
  std::string text;  ///< The file.
  DeviceSection device;
  std::vector<Component> resources;  ///< Those beside the chain, then the chain, base first.
  Component workload;
  std::vector<FaultSection> faults;
  Expectation expect;
  SweepSection sweep;
  ReportSection report;
  Table root;

  bool is_mutant() const { return !expect.caught_by.empty(); }
  bool runs_on(Lane lane) const;
};

/// Throws UserError with file, line, column, the wrong word and the known words.
Scenario read_scenario(const Table& root, const Catalogues& catalogues);

/// Parses and reads. UserError also when the file cannot be read or is over 16 MiB.
Scenario parse_scenario(const std::string& text, const std::string& path, const Catalogues& catalogues);
Scenario load_scenario(const std::string& path, const Catalogues& catalogues);

/// Every .toml under the paths (files and folders), sorted. Throws UserError for a path that is not there.
std::vector<std::string> scenario_files(const std::vector<std::string>& paths);

}  // namespace drought
