#include "harness/work/campaign.hpp"

#include <utility>

namespace drought {
namespace {

constexpr std::size_t kGivenMax = 256;

}  // namespace

void Campaign::give(Waiting next) {
  std::string order = next.order();
  if (const Done* const known = journal_ ? journal_->answer_to(order) : nullptr) {
    ++resumed_;
    next.then(*known);
    return;
  }
  const std::size_t number = numbered_++;
  given_[number] = {journal_ ? order : std::string(), std::move(next.then)};
  workforce_.give(number, std::move(order));
}

void Campaign::run(const std::function<bool()>& more) {
  for (bool is_more = true;;) {
    while (given_.size() < kGivenMax) {
      while (is_more && waiting_.size() < kGivenMax) is_more = more();
      if (waiting_.empty()) break;
      Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      give(std::move(next));
    }
    const std::optional<Done> done = workforce_.next();
    if (!done) return;
    const auto given = given_.extract(done->order);
    if (journal_) journal_->write(given.mapped().order, *done);
    given.mapped().then(*done);
  }
}

}  // namespace drought
