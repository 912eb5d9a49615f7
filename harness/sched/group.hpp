// Ranks that agree: barrier, all-reduce and messages between simulated processes, as torch.distributed
// or NCCL give them to a tensor-parallel server. A rank that leaves while others wait hangs them, which
// is what production sees and what the scheduler then reports. A rank that is killed closes its sockets,
// so that those who wait for it get ProcessLost.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "harness/sched/scheduler.hpp"

namespace drought {

class Group {
 public:
  enum class Reduce { min, max, sum };

  Group(Scheduler& scheduler, int size) : scheduler_(scheduler), arrived_(static_cast<std::size_t>(size)) {}
  int size() const { return static_cast<int>(arrived_.size()); }

  /// Returns when every rank has called it as often as this one. `name` is for the report.
  void barrier(int rank, const std::string& name = "barrier") {
    const std::uint64_t mine = ++arrived_[static_cast<std::size_t>(rank)];
    const std::string what = name + " " + std::to_string(mine);
    std::string lost;
    scheduler_.wait_until(what, [this, mine, &lost] {
      lost.clear();
      bool all = true;
      for (int other = 0; other < size(); ++other) {
        if (arrived_[static_cast<std::size_t>(other)] >= mine) continue;
        all = false;
        if (lost.empty()) lost = scheduler_.killed(other);
      }
      return all || !lost.empty();
    });
    if (!lost.empty()) throw ProcessLost(what + ": " + lost + " was killed");
  }

  /// The reduction of every rank's value, the same on each; each rank calls it once for each round.
  std::int64_t all_reduce(int rank, Reduce how, std::int64_t value) {
    const std::uint64_t round = arrived_[static_cast<std::size_t>(rank)] + 1;
    const auto [slot, is_first] = rounds_.try_emplace(round, Round{value, 0});
    if (!is_first) slot->second.value = combine(how, slot->second.value, value);
    barrier(rank, "all-reduce");
    Round& done = rounds_.at(round);
    const std::int64_t result = done.value;
    if (++done.taken == size()) rounds_.erase(round);
    return result;
  }

  void send(int from, int to, std::int64_t value) { mail_[{from, to}].push_back(value); }

  /// The oldest value sent by `from` to `to`; waits for one.
  std::int64_t receive(int from, int to) {
    std::deque<std::int64_t>& box = mail_[{from, to}];
    scheduler_.wait_until("a message from rank " + std::to_string(from),
                          [&] { return !box.empty() || !scheduler_.killed(from).empty(); });
    if (box.empty()) throw ProcessLost("a message: " + scheduler_.killed(from) + " was killed");
    const std::int64_t value = box.front();
    box.pop_front();
    return value;
  }

 private:
  struct Round {
    std::int64_t value = 0;
    int taken = 0;
  };
  static std::int64_t combine(Reduce how, std::int64_t a, std::int64_t b) {
    return how == Reduce::min ? std::min(a, b) : how == Reduce::max ? std::max(a, b) : a + b;
  }

  Scheduler& scheduler_;
  std::vector<std::uint64_t> arrived_;
  std::map<std::uint64_t, Round> rounds_;
  std::map<std::pair<int, int>, std::deque<std::int64_t>> mail_;
};

}  // namespace drought
