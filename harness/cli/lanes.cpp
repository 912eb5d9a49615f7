// The words about lanes and workers that several commands share.
#include <unistd.h>
#include <CLI/CLI.hpp>

#include "harness/cli/commands.hpp"

namespace drought {

void Lanes::add_to(CLI::App& command) {
  command.add_option("--device", device, "host or cuda");
  command.add_option("--seed", seed, "Of every choice of the run")->check(CLI::NonNegativeNumber);
  command.add_option("--jobs", jobs, "Worker processes; default: a core each, one on a GPU")
      ->check(CLI::Range(1, 256));
  command.add_option("--watchdog", watchdog_s, "Seconds after which a run is taken for hung")
      ->check(CLI::Range(1, 1'000'000));
}

RunOptions Lanes::run_options() const { return {lane_named(device), seed}; }

Crew::Options Lanes::workers() const {
  const int cores = std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
  return {.workers = jobs != 0                          ? jobs
                     : lane_named(device) == Lane::cuda ? 1
                                                        : cores,
          .limit_ms = watchdog_s * 1000};
}

Lane lane_named(const std::string& word) {
  if (word == "host") return Lane::host;
  if (word == "cuda") return Lane::cuda;
  throw UserError("unknown device '" + word + "'; known: host, cuda");
}

std::string lane_missing(Lane lane) {
  if (lane == Lane::host) return {};
  std::string why_not;
  return make_cuda_device(profile_named("h200"), {}, why_not) ? std::string() : why_not;
}

}  // namespace drought
