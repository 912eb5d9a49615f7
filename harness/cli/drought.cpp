// What the words of the command line ask for.
#include <CLI/CLI.hpp>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/device/assigned_gpu.hpp"
#include "harness/device/cuda_peer.hpp"
#include "harness/sweep/orders.hpp"
#include "scenarios/catalogue.hpp"

namespace drought {
namespace {

int worker_job_here(std::istream& orders, std::ostream& answers) {
  return serve_orders(orders, answers, order_doer(all_catalogues()));
}

int run_cli(int argc, char** argv, const Hire& hire) {
  const Catalogues& catalogues = all_catalogues();
  CLI::App app{
      "Runs real GPU kernels and memory managers while memory runs out, and says whether they survive."};
  app.name("drought");
  app.set_version_flag("--version", std::string(DROUGHT_VERSION));
  app.require_subcommand(1);
  const std::pair<std::string, Chosen> commands[] = {{"run", add_run_command(app, catalogues, hire)},
                                                     {"sweep", add_sweep_command(app, catalogues, hire)},
                                                     {"fuzz", add_fuzz_command(app, catalogues, hire)},
                                                     {"replay", add_replay_command(app, catalogues)},
                                                     {"diagnose", add_diagnose_command(app, catalogues)},
                                                     {"list", add_list_command(app, catalogues)},
                                                     {"bench", add_bench_command(app)}};
  if (argc > 1 && argv[1][0] != '-') {
    std::string known;
    bool is_known = false;
    for (const auto& [name, chosen] : commands) {
      is_known = is_known || name == std::string_view(argv[1]);
      known += (known.empty() ? "" : ", ") + name;
    }
    if (!is_known) throw UserError("unknown command '" + std::string(argv[1]) + "'; known: " + known);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    throw UserError(error.what());
  }
  for (const auto& [name, chosen] : commands)
    if (app.got_subcommand(name)) return chosen();
  return users_mistake;
}

}  // namespace

int run_drought(int argc, char** argv, const Hire& hire) {
  try {
    static constexpr ChildJob kJobs[] = {{"peer", run_cuda_peer}, {worker_job, worker_job_here}};
    if (const auto status = run_as_child(argc, argv, kJobs)) return *status;
    keep_to_assigned_gpu();
    return run_cli(argc, argv, hire);
  } catch (const UserError& mistake) {
    std::cerr << "drought: " << mistake.what() << '\n';
    return users_mistake;
  } catch (const std::exception& error) {
    std::cerr << "drought: " << error.what() << '\n';
    return something_failed;
  }
}

}  // namespace drought
