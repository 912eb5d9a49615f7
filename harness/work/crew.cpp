#include "harness/work/crew.hpp"

#include <fstream>

#include "harness/scenario/table.hpp"

namespace drought {
namespace {

// The order that a worker works on and two more, so that it never waits for the next.
constexpr std::size_t kHeldMax = 3;

// How an answer begins: there are more to come, the worker leaves after this one, or it is the user's
// mistake in the order.
constexpr char kStays = '+', kLeaves = '!', kMistaken = '?';

}  // namespace

Crew::Crew(Options options)
    : options_(std::move(options)), workers_(static_cast<std::size_t>(options_.workers)) {}

Crew::~Crew() {
  for (Worker& worker : workers_)
    if (worker.child && worker.held.empty()) (void)worker.child->finish();
}

void Crew::give(std::size_t number, std::string order) {
  queue_.emplace_back(number, std::move(order));
  ++outstanding_;
}

void Crew::hand_out() {
  // One each before anyone holds a second.
  for (std::size_t depth = 1; depth <= kHeldMax; ++depth)
    for (Worker& worker : workers_) {
      if (queue_.empty()) return;
      if (worker.held.size() >= depth) continue;
      if (!worker.child) {
        Child::Options program = options_.program;
        program.limit_ms = options_.limit_ms;
        program.record_bytes_max = std::size_t{256} << 20;
        worker.child.emplace(std::move(program));
        ++started_;
      }
      if (worker.held.empty()) worker.child->expect();
      worker.child->post_line(queue_.front().second);
      worker.held.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
}

/// What a dead worker had not begun is done by another.
void Crew::dismiss(Worker& worker) {
  worker.child.reset();
  while (!worker.held.empty()) {
    queue_.push_front(std::move(worker.held.back()));
    worker.held.pop_back();
  }
}

Done Crew::lose(Worker& worker) {
  Done done{.order = worker.held.front().first, .lost = true};
  worker.held.pop_front();
  if (worker.child->overdue() && !worker.child->ended()) {
    done.hung = true;
    done.answer = "no answer within " + std::to_string(options_.limit_ms) + " ms";
  } else {
    const ChildEnd end = worker.child->finish();
    done.answer = "its process ended with " + end.text();
    if (end.how == ChildEnd::How::signalled && end.number == 9)
      done.answer += ", as the kernel kills for want of memory";
  }
  dismiss(worker);
  return done;
}

std::optional<Done> Crew::answered(Worker& worker) {
  std::optional<std::string> line = worker.child->take_line();
  if (!line) return std::nullopt;
  const char how = line->empty() ? kMistaken : line->front();
  Done done{.order = worker.held.front().first, .answer = line->empty() ? "" : line->substr(1)};
  worker.held.pop_front();
  if (how == kMistaken) throw UserError(done.answer);
  if (how == kLeaves) dismiss(worker);
  return done;
}

std::optional<Done> Crew::next(int wait_ms) {
  if (outstanding_ == 0) return std::nullopt;
  for (bool waited = false;; waited = true) {
    hand_out();
    std::vector<Child*> busy;
    for (Worker& worker : workers_)
      if (!worker.held.empty()) busy.push_back(&*worker.child);
    Child::wait_for_any(busy, wait_ms);
    for (Worker& worker : workers_) {
      if (worker.held.empty()) continue;
      std::optional<Done> done = answered(worker);
      if (!done && (worker.child->ended() || worker.child->overdue())) done = lose(worker);
      if (!done) continue;
      --outstanding_;
      return done;
    }
    if (wait_ms >= 0 && waited) return std::nullopt;
  }
}

int serve_orders(std::istream& orders, std::ostream& answers, const Doer& doer) {
  // Where memory runs out for real, a worker is what the kernel shall take first.
  std::ofstream("/proc/self/oom_score_adj") << 1000;
  for (std::string order; std::getline(orders, order);) {
    try {
      const Deed deed = doer(order);
      answers << (deed.leaves ? kLeaves : kStays) << deed.answer << std::endl;
      if (deed.leaves) return 0;
    } catch (const UserError& mistake) {
      answers << kMistaken << mistake.what() << std::endl;
    }
  }
  return 0;
}

}  // namespace drought
