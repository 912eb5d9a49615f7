// Results as JUnit's XML, which continuous integration reads: a case for each result, with the message and
// the repeat command of what failed, and the reason of what was skipped.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "harness/scenario/run.hpp"
#include "harness/sweep/sweep.hpp"

namespace drought {

struct JUnitCase {
  enum class End { passed, failed, skipped };
  std::string name;   ///< The scenario's path, or what else was tested.
  std::string group;  ///< JUnit's classname, by which readers fold the list: the path's folder.
  End end = End::passed;
  std::string kind;     ///< Of a failure: the verdict.
  std::string message;  ///< Of a failure, or why it was skipped.
  std::string repeat;   ///< Of a failure: the command.
  double wall_ms = 0;
};

std::vector<JUnitCase> junit_cases(const std::vector<RunResult>& results);
/// A case for each scenario; of a failed one the first failure and how many more there are.
std::vector<JUnitCase> junit_cases(const std::vector<SweepResult>& results);

/// One <testsuite> called `suite`. Well-formed whatever the texts hold: what XML cannot say, a control
/// character or a byte that is no UTF-8, becomes U+FFFD.
std::string junit_text(const std::string& suite, std::span<const JUnitCase> cases);

/// Throws UserError when the file cannot be written.
void write_junit(const std::string& path, const std::string& suite, std::span<const JUnitCase> cases);

}  // namespace drought
