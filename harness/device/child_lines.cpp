// The side of a Child that serves a parent with many of them: lines are queued and taken, nothing blocks
// but the one poll over all.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "harness/device/child.hpp"

namespace drought {

void Child::post_line(std::string_view line) {
  to_send_ += line;
  to_send_ += '\n';
  send_some();
}

/// Sends what the socket takes now. Whoever reads no more loses the rest: that it is gone shows at its end.
void Child::send_some() {
  std::size_t sent = 0;
  while (sent < to_send_.size()) {
    const ssize_t count =
        send(channel_, to_send_.data() + sent, to_send_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) sent = to_send_.size();
    if (count < 0) break;
    sent += static_cast<std::size_t>(count);
  }
  to_send_.erase(0, sent);
}

std::optional<std::string> Child::take_line() {
  const auto end = received_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

void Child::wait_for_any(std::span<Child* const> children, int wait_ms) {
  const auto concluded = [](const Child* child) {
    return child->ended_ || child->received_.find('\n') != std::string::npos;
  };
  if (std::any_of(children.begin(), children.end(), concluded)) return;
  const long until = wait_ms < 0 ? -1 : now_ms() + wait_ms;
  std::vector<pollfd> ready;
  for (;;) {
    ready.clear();
    long first = until;
    for (const Child* child : children) {
      const bool sends = !child->to_send_.empty();
      ready.push_back({child->channel_, static_cast<short>(sends ? POLLIN | POLLOUT : POLLIN), 0});
      first = first < 0 ? child->deadline_ms_ : std::min(first, child->deadline_ms_);
    }
    const int left_ms = first < 0 ? -1 : static_cast<int>(std::max(0L, first - now_ms()));
    if (poll(ready.data(), ready.size(), left_ms) < 0 && errno != EINTR)
      throw std::system_error(errno, std::generic_category(), "poll");
    bool some = false;
    for (std::size_t i = 0; i < children.size(); ++i) {
      Child& child = *children[i];
      if (ready[i].revents & POLLOUT) child.send_some();
      if (ready[i].revents & (POLLIN | POLLHUP | POLLERR)) {
        child.ended_ = !child.receive_some() || child.truncated_;
        child.expect();
      }
      child.overdue_ = now_ms() >= child.deadline_ms_;
      some = some || child.overdue_ || concluded(&child);
    }
    if (some || (until >= 0 && now_ms() >= until)) return;
  }
}

}  // namespace drought
