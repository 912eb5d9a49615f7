// What must hold while and after a workload runs. A check is a function of the run's record.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "harness/check/record.hpp"

namespace drought {

/// How the workload ended.
struct Outcome {
  enum class Kind { completed, clean_error, fatal, crashed, hung };
  Kind kind = Kind::completed;
  std::string message;  ///< Of what was thrown, or who waits for what.
};

std::string_view name(Outcome::Kind kind);

struct CheckResult {
  std::string name;
  bool ok = true;
  std::uint64_t looked_at = 0;  ///< How many things the verdict rests on; 0: it saw nothing to judge.
  std::string message;          ///< The first thing wrong, with its number of companions.
};

struct CheckEntry {
  std::string_view name, summary;
  CheckResult (*finish)(const Record& record, const Outcome& outcome);
};

/// Every check, in the order of a report.
std::span<const CheckEntry> check_catalogue();

}  // namespace drought
