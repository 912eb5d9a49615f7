// Results as people and as programs read them.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "harness/fuzz/fuzz.hpp"
#include "harness/scenario/run.hpp"
#include "harness/sweep/sweep.hpp"
#include "harness/trace/refit.hpp"

namespace drought {

/// A line: verdict, scenario, title, and what was wrong.
void print_line(std::ostream& out, const RunResult& result);
/// How many of each verdict; skips are counted and named.
void print_table(std::ostream& out, const std::vector<RunResult>& results);

void print_line(std::ostream& out, const SweepResult& result);
void print_table(std::ostream& out, const std::vector<SweepResult>& results);

/// A line; of what was found, what it is, how small it was made, and the command that repeats it.
void print_line(std::ostream& out, const FuzzResult& result);

/// A line, of a what-if replay a second one; the first difference or refusal below.
void print_line(std::ostream& out, const ReplayReport& report);

/// {"command", "seed", "version", "results": [...]} to `path`. Throws UserError when it cannot be written.
void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<RunResult>& results);
void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<SweepResult>& results);
void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<ReplayReport>& reports);
void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<FuzzResult>& results);

}  // namespace drought
