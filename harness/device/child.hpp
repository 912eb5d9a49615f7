// A process of our own: what kills a CUDA context, and every peer, rank and worker, runs in one. The
// parent needs no CUDA: the child is spawned, never forked, from this executable or a given one.
// One socket pair is the child's standard input and output: what the parent gives is its input, what
// it prints is its record. Standard error is shared.
//
// The time limit is a watchdog for processes that a GPU has hung, and the only clock in the harness:
// a verdict never depends on how long something took, save that this long counts as for ever.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <istream>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace drought {

/// How a child ended, and what it had printed.
struct ChildEnd {
  enum class How { exited, signalled, timed_out };
  How how{};
  int number = 0;          ///< The exit code or the signal; of a timed out child, SIGKILL.
  std::string record;      ///< At most Options::record_bytes_max bytes.
  bool truncated = false;  ///< The child printed more than that; the rest was read and dropped.

  bool succeeded() const { return how == How::exited && number == 0 && !truncated; }
  /// "exit 3", "signal 11 (Segmentation fault)", "killed after 60000 ms without an end".
  std::string text() const;
  unsigned limit_ms = 0;  ///< The limit it ran under.
};

/// Owns one process: destroying it kills and reaps that process, whatever state it is in.
class Child {
 public:
  struct Options {
    std::string program = "/proc/self/exe";  ///< A path; PATH is not searched.
    std::vector<std::string> arguments;      ///< argv[1] and on.
    std::size_t record_bytes_max = std::size_t{16} << 20;
    unsigned limit_ms = 60'000;  ///< For each read_line, and for finish. Covers 0.3 s of CUDA start-up.
  };

  /// Throws std::system_error when the process cannot be started.
  explicit Child(Options options);
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();

  /// Writes `line` and a newline. false: the child no longer reads.
  bool send_line(std::string_view line);
  /// The next line it prints, without its newline; nothing when its output ended, the limit passed or
  /// the line outgrew record_bytes_max.
  std::optional<std::string> read_line();

  /// Gives `input`, then end of file, reads the record to its end and reaps. Past the limit it is
  /// killed. Call once; lines that read_line returned are not part of the record.
  ChildEnd finish(std::string_view input = {});

  pid_t pid() const { return pid_; }

  // For a parent that speaks with several at once and never blocks on one.
  /// Sends `line` and a newline as the child takes them.
  void post_line(std::string_view line);
  /// The next line that has arrived whole; nothing when none has.
  std::optional<std::string> take_line();
  /// Nothing more will arrive: its output ended, or a line outgrew record_bytes_max.
  bool ended() const { return ended_; }
  /// Nothing has arrived for Options::limit_ms. Nobody is overdue before wait_for_any has looked.
  bool overdue() const { return overdue_; }
  /// The clock of overdue() starts again: it has something to do from now on.
  void expect() { deadline_ms_ = now_ms() + options_.limit_ms; }
  /// Sends and receives until something has arrived from one of them, one has ended or is overdue, or
  /// `wait_ms` (-1: no limit) have passed.
  static void wait_for_any(std::span<Child* const> children, int wait_ms);

 private:
  static long now_ms();
  bool wait_until_ready(short& events, long deadline_ms) const;
  bool receive_some();
  void send_some();
  void kill_and_reap() noexcept;
  bool reap_until(long deadline_ms, int& status);

  Options options_;
  pid_t pid_ = -1;  ///< -1: reaped, or moved from.
  int channel_ = -1;
  std::string received_;
  bool truncated_ = false;
  std::string to_send_;
  long deadline_ms_ = 0;
  bool ended_ = false, overdue_ = false;
};

/// One thing that this executable can do as a child. `run` reads what the parent gives, writes the
/// record, and its return is the exit code.
struct ChildJob {
  std::string_view name;
  int (*run)(std::istream& input, std::ostream& record);
};

/// The arguments that make run_as_child in this executable do job `name`.
Child::Options job(std::string_view name);

/// Every main calls this first. With `--child NAME` it does that job and gives the exit code (2 and the
/// known names for an unknown one); otherwise nothing. In a job, standard output is redirected to standard
/// error, so that a stray print cannot spoil the record; the process dies with the thread that spawned it.
std::optional<int> run_as_child(int argc, char** argv, std::span<const ChildJob> jobs);

}  // namespace drought
