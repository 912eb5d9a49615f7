// drought: runs scenarios, sweeps and replays, and says how they went. Started by mpirun it hands over to
// drought_mpi beside it: OpenMPI exists as a shared library only, which this program does without.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "harness/cli/commands.hpp"

int main(int argc, char** argv) {
  using namespace drought;
  const bool is_child = argc > 1 && std::string_view(argv[1]) == "--child";
  if (!is_child && std::getenv("OMPI_COMM_WORLD_SIZE")) {
    const std::string beside = std::filesystem::read_symlink("/proc/self/exe").string() + "_mpi";
    execv(beside.c_str(), argv);
    std::cerr << "drought: mpirun needs " << beside << ", which is built where OpenMPI is found\n";
    return users_mistake;
  }
  return run_drought(argc, argv,
                     [](const Crew::Options& workers) { return std::make_unique<Crew>(workers); });
}
