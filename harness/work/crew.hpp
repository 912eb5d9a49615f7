// Worker processes of this machine. Each does many orders, one after the other. One that dies over an order
// (a crash, a kill for want of memory) or does not end it in time takes that order with it and no other: it
// is classed, what it had not begun goes to others, and a fresh worker takes its place. A worker whose GPU
// context is lost says so with its answer and leaves, so that one sticky error costs one order.
//
// (cuML's continuous integration once turned one cudaErrorIllegalAddress into 1,054 failures, issue 7906.)
#pragma once

#include <istream>
#include <ostream>
#include <string_view>
#include <vector>

#include "harness/device/child.hpp"
#include "harness/work/workforce.hpp"

namespace drought {

/// The job that a worker is started as (run_as_child); its main calls serve_orders.
inline constexpr std::string_view worker_job = "worker";

class Crew final : public Workforce {
 public:
  struct Options {
    int workers = 1;
    unsigned limit_ms = 60'000;  ///< An order that takes longer is hung.
    Child::Options program = job(worker_job);
  };
  /// Workers start when there is something to do.
  explicit Crew(Options options);
  /// Workers that have nothing to do end by themselves, with what a process does at its end; others are
  /// killed.
  ~Crew() override;

  void give(std::size_t number, std::string order) override;
  std::optional<Done> next() override { return next(-1); }
  /// As next(), but gives up after `wait_ms`.
  std::optional<Done> next(int wait_ms);
  /// Orders that are not done yet.
  std::size_t outstanding() const { return outstanding_; }
  /// Workers that were started so far.
  std::size_t started() const { return started_; }

 private:
  using Numbered = std::pair<std::size_t, std::string>;
  struct Worker {
    std::optional<Child> child;
    std::deque<Numbered> held;  ///< Sent to it, the first of them in work.
  };

  void hand_out();
  std::optional<Done> answered(Worker& worker);
  Done lose(Worker& worker);
  void dismiss(Worker& worker);

  const Options options_;
  std::vector<Worker> workers_;
  std::deque<Numbered> queue_;
  std::size_t outstanding_ = 0, started_ = 0;
};

/// The worker's side: reads orders, does them, and writes the answers until its input ends or a deed
/// leaves. Throws what `doer` throws, UserError aside, which is handed to whoever gave the order.
int serve_orders(std::istream& orders, std::ostream& answers, const Doer& doer);

}  // namespace drought
