// The parent's side speaks over a socket, not pipes, because a write to a process that has died then
// fails quietly (MSG_NOSIGNAL) and the program's signal handlers stay as they are.
#include "harness/device/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ext/stdio_filebuf.h>
#include <iostream>
#include <system_error>
#include <utility>

extern char** environ;

namespace drought {
namespace {

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

struct SpawnActions {
  SpawnActions() {
    if (const int error = posix_spawn_file_actions_init(&actions))
      fail(error, "posix_spawn_file_actions_init");
  }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t actions;
};

pid_t spawn(const Child::Options& options, int end) {
  SpawnActions wiring;
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO})
    if (const int error = posix_spawn_file_actions_adddup2(&wiring.actions, end, standard))
      fail(error, "adddup2");
  std::vector<char*> argv{const_cast<char*>(options.program.c_str())};
  for (const std::string& argument : options.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = -1;
  const int error =
      posix_spawn(&pid, options.program.c_str(), &wiring.actions, nullptr, argv.data(), environ);
  if (error) fail(error, "cannot start " + options.program);
  return pid;
}

}  // namespace

long Child::now_ms() {
  using namespace std::chrono;
  return static_cast<long>(duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
}

Child::Child(Options options) : options_(std::move(options)) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail(errno, "socketpair");
  channel_ = ends[0];
  try {
    pid_ = spawn(options_, ends[1]);
  } catch (...) {
    close(ends[0]);
    close(ends[1]);
    throw;
  }
  close(ends[1]);
}

Child::Child(Child&& other) noexcept
    : options_(std::move(other.options_)),
      pid_(std::exchange(other.pid_, -1)),
      channel_(std::exchange(other.channel_, -1)),
      received_(std::move(other.received_)),
      truncated_(other.truncated_),
      to_send_(std::move(other.to_send_)),
      deadline_ms_(other.deadline_ms_),
      ended_(other.ended_),
      overdue_(other.overdue_) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this == &other) return *this;
  kill_and_reap();
  options_ = std::move(other.options_);
  pid_ = std::exchange(other.pid_, -1);
  channel_ = std::exchange(other.channel_, -1);
  received_ = std::move(other.received_);
  truncated_ = other.truncated_;
  to_send_ = std::move(other.to_send_);
  deadline_ms_ = other.deadline_ms_;
  ended_ = other.ended_;
  overdue_ = other.overdue_;
  return *this;
}

Child::~Child() { kill_and_reap(); }

void Child::kill_and_reap() noexcept {
  if (channel_ >= 0) close(std::exchange(channel_, -1));
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

/// Waits for any of `events` and leaves those that came. false: the deadline passed.
bool Child::wait_until_ready(short& events, long deadline_ms) const {
  for (;;) {
    pollfd ready{channel_, events, 0};
    const long left_ms = deadline_ms - now_ms();
    if (left_ms <= 0) return false;
    const int count = poll(&ready, 1, static_cast<int>(left_ms));
    if (count < 0 && errno != EINTR) fail(errno, "poll");
    if (count > 0) {
      events = ready.revents;
      return true;
    }
  }
}

/// Takes what has arrived; false at the end of the output. Call when the channel is readable.
bool Child::receive_some() {
  char bytes[64 * 1024];
  const ssize_t count = recv(channel_, bytes, sizeof bytes, MSG_DONTWAIT);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (count <= 0) return false;  // A reset is the end too: the child left input unread.
  const auto room = options_.record_bytes_max - received_.size();
  const auto taken = std::min(room, static_cast<std::size_t>(count));
  received_.append(bytes, taken);
  if (taken < static_cast<std::size_t>(count)) truncated_ = true;
  return true;
}

bool Child::send_line(std::string_view line) {
  std::string text(line);
  text += '\n';
  const long deadline_ms = now_ms() + options_.limit_ms;
  for (std::size_t sent = 0; sent < text.size();) {
    short events = POLLOUT;
    if (!wait_until_ready(events, deadline_ms)) return false;
    const ssize_t count = send(channel_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (count > 0) sent += static_cast<std::size_t>(count);
  }
  return true;
}

std::optional<std::string> Child::read_line() {
  const long deadline_ms = now_ms() + options_.limit_ms;
  for (;;) {
    if (const auto end = received_.find('\n'); end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    short events = POLLIN;
    if (truncated_ || !wait_until_ready(events, deadline_ms) || !receive_some()) return std::nullopt;
  }
}

/// Reaps without blocking past the deadline. A child whose output has ended is at its exit as a rule,
/// so the first look succeeds or the second does.
bool Child::reap_until(long deadline_ms, int& status) {
  for (;;) {
    const pid_t reaped = waitpid(pid_, &status, WNOHANG);
    if (reaped == pid_) {
      pid_ = -1;
      return true;
    }
    if (reaped < 0 && errno != EINTR) fail(errno, "waitpid");
    if (now_ms() >= deadline_ms) return false;
    poll(nullptr, 0, 1);
  }
}

ChildEnd Child::finish(std::string_view input) {
  const long deadline_ms = now_ms() + options_.limit_ms;
  bool in_time = true, writing = true;
  for (bool reading = true; reading && in_time;) {
    if (writing && input.empty()) {
      shutdown(channel_, SHUT_WR);
      writing = false;
    }
    short events = writing ? POLLIN | POLLOUT : POLLIN;
    in_time = wait_until_ready(events, deadline_ms);
    if (!in_time) break;
    if (writing && (events & POLLOUT)) {
      const ssize_t count = send(channel_, input.data(), input.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count > 0) input.remove_prefix(static_cast<std::size_t>(count));
      if (count < 0 && errno != EINTR && errno != EAGAIN) input = {};  // It reads no more.
    }
    if (events & (POLLIN | POLLHUP | POLLERR)) reading = receive_some();
  }
  int status = 0;
  ChildEnd end{.limit_ms = options_.limit_ms};
  if (!in_time || !reap_until(deadline_ms, status)) {
    end.how = ChildEnd::How::timed_out;
    end.number = SIGKILL;
  } else if (WIFSIGNALED(status)) {
    end.how = ChildEnd::How::signalled;
    end.number = WTERMSIG(status);
  } else {
    end.how = ChildEnd::How::exited;
    end.number = WEXITSTATUS(status);
  }
  kill_and_reap();
  end.record = std::move(received_);
  end.truncated = truncated_;
  return end;
}

std::string ChildEnd::text() const {
  switch (how) {
    case How::exited:
      return "exit " + std::to_string(number);
    case How::signalled:
      return "signal " + std::to_string(number) + " (" + strsignal(number) + ")";
    case How::timed_out:
      return "killed after " + std::to_string(limit_ms) + " ms without an end";
  }
  return "";
}

Child::Options job(std::string_view name) {
  Child::Options options;
  options.arguments = {"--child", std::string(name)};
  return options;
}

std::optional<int> run_as_child(int argc, char** argv, std::span<const ChildJob> jobs) {
  if (argc < 2 || std::string_view(argv[1]) != "--child") return std::nullopt;
  const std::string_view wanted = argc > 2 ? argv[2] : "";
  std::string known;
  for (const ChildJob& job : jobs) {
    if (job.name != wanted) {
      known += (known.empty() ? "" : ", ") + std::string(job.name);
      continue;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int channel = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    if (channel < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) fail(errno, "dup");
    __gnu_cxx::stdio_filebuf<char> buffer(channel, std::ios::out);
    std::ostream record(&buffer);
    const int code = job.run(std::cin, record);
    record.flush();
    return record ? code : 1;
  }
  std::cerr << "unknown child job '" << wanted << "'; known: " << known << '\n';
  return 2;
}

}  // namespace drought
