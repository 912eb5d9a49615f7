// drought as mpirun starts it: the same commands, their runs done by every rank. Rank 0 alone reads and
// prints.
#include <mpi.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/cli/mpi/ranks.hpp"

int main(int argc, char** argv) {
  using namespace drought;
  const auto hire = [](const Crew::Options& workers) { return std::make_unique<Ranks>(workers); };
  // A worker of this program's own is no rank.
  if (argc > 1 && std::string_view(argv[1]) == "--child") return run_drought(argc, argv, hire);
  // A long message is else read out of the sender's memory, and one whose sender was killed never ends
  // (OpenMPI 4.1's vader, "Read -1, errno = 3").
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank != 0) {
    serve_rank();
    // Whether a rank was lost only rank 0 knows. Whoever leaves unfinalized does no harm under
    // --enable-recovery, but all that are left must do alike.
    bool all = false;
    MPI_Status status;
    MPI_Recv(&all, 1, MPI_CXX_BOOL, 0, 0, MPI_COMM_WORLD, &status);
    if (!all) _exit(0);
    MPI_Finalize();
    return 0;
  }
  const int result = run_drought(argc, argv, hire);
  // OpenMPI 4.1's mpirun --enable-recovery answers 0 whatever a rank answers.
  if (result != as_expected) std::cerr << "drought: exit status " << result << '\n';
  const bool all = stop_ranks();
  int count = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &count);
  for (int other = 1; other < count; ++other) {
    MPI_Request sent;
    MPI_Isend(&all, 1, MPI_CXX_BOOL, other, 0, MPI_COMM_WORLD, &sent);
    int over = 0;
    MPI_Test(&sent, &over, MPI_STATUS_IGNORE);
  }
  std::cout << std::flush;
  if (all) {
    MPI_Finalize();
    return result;
  }
  std::cerr << "drought: a rank was lost; others did what it held\n";
  _exit(result);
}
