// A campaign over many machines: rank 0 reads the command and merges, every rank does orders, each through a
// crew of its own. Orders are handed out one by one as ranks come free, so a slow machine does fewer.
//
// OpenMPI 4.1 announces no loss: a send to a rank that died succeeds, and a receive stays pending for ever.
// So when nothing is left to hand out, what is still unanswered goes out again to whoever is idle, and the
// first answer counts; both are the same, for an order says all there is to know. After a loss no collective
// call is made and MPI is not finalized, for both would wait for the dead.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/work/crew.hpp"

namespace drought {

/// Rank 0's side. One at a time.
class Ranks final : public Workforce {
 public:
  explicit Ranks(const Crew::Options& workers);

  void give(std::size_t number, std::string order) override;
  std::optional<Done> next() override;

 private:
  void hand_out();
  void send_order(int rank, std::size_t number);
  /// An unanswered order that this rank does not hold already.
  const std::size_t* unanswered_by_others(const std::set<std::size_t>& held) const;
  std::optional<Done> conclude(const Done& done);
  std::optional<Done> receive();

  Crew own_;
  std::deque<std::size_t> queue_;
  std::map<std::size_t, std::string> open_;  ///< Every order without an answer.
  std::vector<std::set<std::size_t>> held_;  ///< By rank; own_'s at 0.
};

/// The side of every other rank: does orders until it is told to stop, then says that it does.
void serve_rank();

/// Rank 0 tells the others to stop. Whether all of them answered, so that MPI can be finalized.
bool stop_ranks();

}  // namespace drought
