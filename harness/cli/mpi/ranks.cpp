#include "harness/cli/mpi/ranks.hpp"

#include <poll.h>

#include <cstring>
#include <list>
#include <memory>
#include <set>

#include "harness/scenario/table.hpp"

namespace drought {
namespace {

enum Tag : int { tag_start = 1, tag_order, tag_answer, tag_stop, tag_stopped };

// How an answer came, before its text.
constexpr char kAnswered = '+', kLost = 'L', kHung = 'H', kMistake = '?';

// A rank that is alive does nothing but wait for messages and its workers, so it answers at once.
constexpr int kStopPolls = 5000;  // Of 1 ms.

// What a rank holds besides the order that is being done, so that it never waits for the next.
constexpr std::size_t kHeldMax = 2;

std::string numbered(std::size_t number, std::string_view text) {
  std::string message(sizeof number, '\0');
  std::memcpy(message.data(), &number, sizeof number);
  message += text;
  return message;
}

std::size_t take_number(std::string& message) {
  std::size_t number = 0;
  std::memcpy(&number, message.data(), sizeof number);
  message.erase(0, sizeof number);
  return number;
}

/// Sends that are under way keep their text: one to a dead rank may be for ever.
class Outbox {
 public:
  void send(int rank, Tag tag, std::string text) {
    sends_.remove_if([](Send& send) {
      int over = 0;
      MPI_Test(&send.request, &over, MPI_STATUS_IGNORE);
      return over != 0;
    });
    Send& made = sends_.emplace_back(Send{std::move(text), MPI_REQUEST_NULL});
    MPI_Isend(made.text.data(), static_cast<int>(made.text.size()), MPI_CHAR, rank, tag, MPI_COMM_WORLD,
              &made.request);
  }
  /// Until all have left.
  void flush() {
    for (Send& send : sends_) MPI_Wait(&send.request, MPI_STATUS_IGNORE);
    sends_.clear();
  }

 private:
  struct Send {
    std::string text;
    MPI_Request request;
  };
  std::list<Send> sends_;
};

Outbox& outbox() {
  static Outbox* const box = new Outbox;  // Outlives every exit: a pending send may still read it.
  return *box;
}

struct Message {
  int rank = 0, tag = 0;
  std::string text;
};

/// Messages that have begun to come. Of a long one the rest never comes when its sender is killed, which must
/// hold up nobody else's.
class Inbox {
 public:
  /// The next that is whole, those of one rank in their order.
  std::optional<Message> take() {
    begin();
    std::set<int> waited_for;
    for (auto open = open_.begin(); open != open_.end(); ++open) {
      if (waited_for.contains(open->message.rank)) continue;
      int over = 0;
      MPI_Test(&open->request, &over, MPI_STATUS_IGNORE);
      if (!over) {
        waited_for.insert(open->message.rank);
        continue;
      }
      Message message = std::move(open->message);
      open_.erase(open);
      return message;
    }
    return std::nullopt;
  }

 private:
  struct Open {
    Message message;
    MPI_Request request;
  };

  void begin() {
    for (int there = 1;;) {
      MPI_Status status;
      MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &there, &status);
      if (!there) return;
      int bytes = 0;
      MPI_Get_count(&status, MPI_CHAR, &bytes);
      Open& open = open_.emplace_back(
          Open{{status.MPI_SOURCE, status.MPI_TAG, std::string(static_cast<std::size_t>(bytes), '\0')},
               MPI_REQUEST_NULL});
      MPI_Irecv(open.message.text.data(), bytes, MPI_CHAR, status.MPI_SOURCE, status.MPI_TAG, MPI_COMM_WORLD,
                &open.request);
    }
  }

  std::list<Open> open_;
};

std::optional<Message> received() {
  static Inbox* const inbox = new Inbox;  // Outlives every exit: what never ends may still be written to.
  return inbox->take();
}

void wait_a_little() { poll(nullptr, 0, 1); }

int rank_count() {
  int count = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &count);
  return count;
}

/// What a rank's crew has done, as a message to rank 0.
std::string answer_message(const Done& done) {
  const char how = done.hung ? kHung : done.lost ? kLost : kAnswered;
  return numbered(done.order, how + done.answer);
}

}  // namespace

Ranks::Ranks(const Crew::Options& workers)
    : own_({.workers = 1, .limit_ms = workers.limit_ms}), held_(static_cast<std::size_t>(rank_count())) {
  for (int rank = 1; rank < rank_count(); ++rank)
    outbox().send(rank, tag_start, std::to_string(workers.limit_ms));
}

void Ranks::give(std::size_t number, std::string order) {
  open_.emplace(number, std::move(order));
  queue_.push_back(number);
}

void Ranks::send_order(int rank, std::size_t number) {
  held_[static_cast<std::size_t>(rank)].insert(number);
  const std::string& order = open_.at(number);
  if (rank == 0) {
    own_.give(number, order);
  } else {
    outbox().send(rank, tag_order, numbered(number, order));
  }
}

/// The youngest: an older one is the more likely to be one over which a rank hangs.
const std::size_t* Ranks::unanswered_by_others(const std::set<std::size_t>& held) const {
  for (auto order = open_.rbegin(); order != open_.rend(); ++order)
    if (!held.contains(order->first)) return &order->first;
  return nullptr;
}

void Ranks::hand_out() {
  for (std::size_t depth = 1; depth <= kHeldMax; ++depth)
    for (std::size_t rank = 0; rank < held_.size(); ++rank) {
      if (queue_.empty()) break;
      if (held_[rank].size() >= depth) continue;
      const std::size_t number = queue_.front();
      queue_.pop_front();
      send_order(static_cast<int>(rank), number);
    }
  if (!queue_.empty()) return;
  for (std::size_t rank = 0; rank < held_.size(); ++rank)
    if (held_[rank].empty())
      if (const std::size_t* const again = unanswered_by_others(held_[rank]))
        send_order(static_cast<int>(rank), *again);
}

/// The first answer to an order counts; nothing for a later one.
std::optional<Done> Ranks::conclude(const Done& done) {
  if (open_.erase(done.order) == 0) return std::nullopt;
  return done;
}

std::optional<Done> Ranks::receive() {
  while (std::optional<Message> message = received()) {
    if (message->tag != tag_answer) continue;
    Done done{.order = take_number(message->text)};
    const char how = message->text.empty() ? kLost : message->text.front();
    done.answer = message->text.empty() ? "" : message->text.substr(1);
    done.hung = how == kHung;
    done.lost = how == kHung || how == kLost;
    held_[static_cast<std::size_t>(message->rank)].erase(done.order);
    if (how == kMistake) throw UserError(done.answer);
    if (const auto first = conclude(done)) return first;
  }
  return std::nullopt;
}

std::optional<Done> Ranks::next() {
  while (!open_.empty()) {
    hand_out();
    if (auto done = receive()) return done;
    if (own_.outstanding() == 0) {
      wait_a_little();
      continue;
    }
    if (const auto done = own_.next(1)) {
      held_[0].erase(done->order);
      if (const auto first = conclude(*done)) return first;
    }
  }
  return std::nullopt;
}

void serve_rank() {
  std::unique_ptr<Crew> crew;
  for (;;) {
    while (std::optional<Message> message = received()) {
      if (message->tag == tag_start)
        crew = std::make_unique<Crew>(
            Crew::Options{.workers = 1, .limit_ms = static_cast<unsigned>(std::stoul(message->text))});
      if (message->tag == tag_order) {
        const std::size_t number = take_number(message->text);
        crew->give(number, std::move(message->text));
      }
      if (message->tag == tag_stop) {
        outbox().send(0, tag_stopped, "");
        outbox().flush();
        return;
      }
    }
    if (!crew || crew->outstanding() == 0) {
      wait_a_little();
      continue;
    }
    try {
      if (const auto done = crew->next(1)) outbox().send(0, tag_answer, answer_message(*done));
    } catch (const UserError& mistake) {
      outbox().send(0, tag_answer, numbered(0, kMistake + std::string(mistake.what())));
    }
  }
}

bool stop_ranks() {
  for (int rank = 1; rank < rank_count(); ++rank) outbox().send(rank, tag_stop, "");
  int stopped = 0;
  for (int polls = 0; stopped != rank_count() - 1 && polls < kStopPolls; ++polls) {
    while (const std::optional<Message> message = received()) stopped += message->tag == tag_stopped;
    wait_a_little();
  }
  if (stopped != rank_count() - 1) return false;
  outbox().flush();
  return true;
}

}  // namespace drought
