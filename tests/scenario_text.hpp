// Scenarios written in a test: from TOML text, so that a test reads as the file would, with workloads
// of the test's own beside the shipped ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/run.hpp"
#include "harness/scenario/scenario.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/catalogue.hpp"

namespace drought {

/// The shipped catalogues, and `workloads` besides them. Outlives what is made from catalogues().
class TestCatalogues {
 public:
  explicit TestCatalogues(std::vector<WorkloadEntry> workloads) : workloads_(std::move(workloads)) {
    for (const WorkloadEntry& shipped : all_catalogues().workloads) workloads_.push_back(shipped);
  }
  Catalogues catalogues() const {
    Catalogues with = all_catalogues();
    with.workloads = workloads_;
    return with;
  }

 private:
  std::vector<WorkloadEntry> workloads_;
};

/// A workload without options, as a catalogue line: `workload_line<Leaks>("leaks")`.
template <typename Made>
WorkloadEntry workload_line(std::string_view name) {
  return {name, "a test's own", [](const Table& options) -> std::unique_ptr<Workload> {
            options.allow_only({});
            return std::make_unique<Made>();
          }};
}

/// A workload of which scenarios are drawn, as a catalogue line: `drawn_line<Slips>("slips")`.
template <typename Made>
WorkloadEntry drawn_line(std::string_view name) {
  WorkloadEntry entry = entry_of<WorkloadEntry, Workload, Made>(name, "a test's own");
  entry.drawn = Made::drawn;
  return entry;
}

inline constexpr const char* kDirect = "[device]\nprofile = 'h100-80g'\nwork = 'shapes'\n";

/// The scenario in `toml`, under the name "test.toml". A title is added.
inline Scenario scenario_of(std::string_view toml, const Catalogues& catalogues = all_catalogues()) {
  return parse_scenario("title = 'a test'\n" + std::string(toml), "test.toml", catalogues);
}

}  // namespace drought
