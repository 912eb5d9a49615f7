// Many orders, each done once. Whoever adds one says what to do with its answer, which may be to add more:
// a sweep first has the points counted, then has each struck. With a journal, what it has an answer to is
// not done again. Only a window of them exists as text at a time, so a campaign of millions stays small.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>

#include "harness/work/journal.hpp"
#include "harness/work/workforce.hpp"

namespace drought {

class Campaign {
 public:
  using Order = std::function<std::string()>;
  using Then = std::function<void(const Done&)>;

  /// `journal` may be null. Both outlive this.
  Campaign(Workforce& workforce, Journal* journal) : workforce_(workforce), journal_(journal) {}

  /// `order` makes the text when its turn has come; `then` is called from run(), once. The journal takes
  /// equal texts for one order.
  void add(Order order, Then then) { waiting_.push_back({std::move(order), std::move(then)}); }
  /// Until every order is done. `more` is asked to add some whenever few are left, until it answers false.
  /// Throws what the workforce throws.
  void run(const std::function<bool()>& more);
  /// Orders that the journal answered.
  std::size_t resumed() const { return resumed_; }

 private:
  struct Waiting {
    Order order;
    Then then;
  };
  struct Given {
    std::string order;  ///< Kept for the journal only.
    Then then;
  };
  void give(Waiting next);

  Workforce& workforce_;
  Journal* const journal_;
  std::deque<Waiting> waiting_;
  std::unordered_map<std::size_t, Given> given_;
  std::size_t numbered_ = 0, resumed_ = 0;
};

}  // namespace drought
