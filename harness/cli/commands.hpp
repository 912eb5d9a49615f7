// The commands of `drought`. Each adds itself to the parser and, when chosen, runs and answers the exit
// status: 0 all as expected, 1 something failed, 2 the user's mistake, 77 nothing ran.
#pragma once

#include <functional>

#include "harness/scenario/catalogues.hpp"

namespace CLI {
class App;
}

namespace drought {

enum ExitStatus : int { as_expected = 0, something_failed = 1, users_mistake = 2, nothing_ran = 77 };

/// What a command does once its options are parsed.
using Chosen = std::function<int()>;

Chosen add_run_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_sweep_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_replay_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_diagnose_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_list_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_bench_command(CLI::App& app);

/// "host" or "cuda"; throws UserError for another word.
Lane lane_named(const std::string& word);
/// The site; throws UserError that lists the known ones.
Site site_of_user(const std::string& word);
/// Why the lane cannot run here; empty when it can.
std::string lane_missing(Lane lane);

}  // namespace drought
