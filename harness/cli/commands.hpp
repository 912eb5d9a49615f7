// The commands of `drought`. Each adds itself to the parser and, when chosen, runs and answers the exit
// status: 0 all as expected, 1 something failed, 2 the user's mistake, 77 nothing ran.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "harness/scenario/run.hpp"
#include "harness/work/crew.hpp"

namespace CLI {
class App;
}

namespace drought {

enum ExitStatus : int { as_expected = 0, something_failed = 1, users_mistake = 2, nothing_ran = 77 };

/// What a command does once its options are parsed.
using Chosen = std::function<int()>;

/// Finds who does a command's runs: workers on this machine, or those of a campaign over many.
using Hire = std::function<std::unique_ptr<Workforce>(const Crew::Options& workers)>;

/// The whole program: what its words ask for, with this workforce.
int run_drought(int argc, char** argv, const Hire& hire);

Chosen add_run_command(CLI::App& app, const Catalogues& catalogues, const Hire& hire);
Chosen add_sweep_command(CLI::App& app, const Catalogues& catalogues, const Hire& hire);
Chosen add_replay_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_diagnose_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_list_command(CLI::App& app, const Catalogues& catalogues);
Chosen add_bench_command(CLI::App& app);

/// Where and by how many a command's runs are made: --device, --seed, --jobs, --watchdog.
struct Lanes {
  std::string device = "host";
  std::uint64_t seed = 1;
  int jobs = 0;               ///< 0: a worker a core; one on a GPU, whose memory its workers would share.
  unsigned watchdog_s = 600;  ///< A run that takes longer is hung.

  void add_to(CLI::App& command);
  RunOptions run_options() const;
  Crew::Options workers() const;
};

/// "host" or "cuda"; throws UserError for another word.
Lane lane_named(const std::string& word);
/// The site; throws UserError that lists the known ones.
Site site_of_user(const std::string& word);
/// Why the lane cannot run here; empty when it can.
std::string lane_missing(Lane lane);

}  // namespace drought
