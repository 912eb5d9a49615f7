// Orders and who does them. An order is one line of text that says all there is to know, and its answer is
// another; who does it keeps nothing that an answer depends on. So it does not matter where an order is
// done: here, in a worker process, or on another machine; nor how often it had to be begun.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace drought {

/// How an order ended.
struct Done {
  std::size_t order = 0;  ///< The number it was given under.
  std::string answer;
  bool lost = false;  ///< Whoever did it ended over it; `answer` says how.
  bool hung = false;  ///< Lost because it did not end in time.
};

/// What doing an order came to.
struct Deed {
  std::string answer;
  bool leaves = false;  ///< This process can do no more: its GPU context is lost.
};
using Doer = std::function<Deed(const std::string& order)>;

class Workforce {
 public:
  virtual ~Workforce() = default;
  /// Takes an order, which must have no newline.
  virtual void give(std::size_t number, std::string order) = 0;
  /// The next that is done, in any order; nothing when none is outstanding. Throws UserError for an order
  /// that is the user's mistake.
  virtual std::optional<Done> next() = 0;
};

/// Does them itself, in the order they were given. What ends the process ends the caller.
class Myself final : public Workforce {
 public:
  explicit Myself(Doer doer) : doer_(std::move(doer)) {}
  void give(std::size_t number, std::string order) override {
    orders_.emplace_back(number, std::move(order));
  }
  std::optional<Done> next() override {
    if (orders_.empty()) return std::nullopt;
    const auto [number, order] = std::move(orders_.front());
    orders_.pop_front();
    return Done{number, doer_(order).answer};
  }

 private:
  const Doer doer_;
  std::deque<std::pair<std::size_t, std::string>> orders_;
};

}  // namespace drought
