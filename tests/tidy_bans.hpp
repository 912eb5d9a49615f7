// What no source calls or names, with the files that may.
#pragma once

#include <string>
#include <vector>

namespace drought {

struct Ban {
  const char* pattern;
  const char* why;
  std::vector<std::string> allowed;  ///< Files that may, by the beginning of their paths.
};

inline const std::vector<Ban>& bans() {
  static const std::vector<Ban> kBans{
      {R"(\bs?rand\s*\()", "chance without a seed", {}},
      {R"(\brandom_device\b)", "chance without a seed", {}},
      {R"(\bmt19937|\bdefault_random_engine\b)", "Random is the one source of chance", {}},
      {R"(\bu?sleep\s*\(|\bnanosleep\b|\bsleep_for\b)",
       "a sleep",
       {"harness/sched/scheduler.", "harness/scenario/rig.cpp", "tests/scheduler_test.cpp"}},
      {R"(\bsystem_clock\b|\bhigh_resolution_clock\b)", "the wall clock", {}},
      {R"([^_\w.]time\s*\(|\bgettimeofday\b|\bclock\s*\(\))", "the wall clock", {}},
      {R"(\bsteady_clock\b|\bclock_gettime\b)",
       "a clock outside the watchdog and the report's times",
       {"harness/device/child.cpp", "harness/scenario/run.cpp", "harness/sweep/strike.cpp",
        "harness/cli/replay_command.cpp", "harness/trace/", "tests/bench/"}},
      {R"(\bthis_thread\b|\bstd::j?thread\b|\bpthread_create\b|\bstd::async\b)",
       "a thread: one runs a scenario",
       {}},
      {R"(\bstd::source_location\b|\bstd::(views|ranges::views)\b)", "what clang 14 does not parse", {}},
      {R"(\b(TODO|FIXME|XXX)\b)", "work left over", {}},
      {R"(\b\w*([Uu]tils?|[Hh]elpers?|[Mm]anager|[Cc]ommon)(_\w*)?\s*[({;=])",
       "a name that says nothing",
       {}},
      {R"(\b(class|struct)\s+\w*(Impl|Base|Manager|Helper|Utils?|Common)\b)", "a name that says nothing", {}},
      {R"(\bcatch\s*\(\.\.\.\)\s*\{\s*\})", "an error caught and lost", {}},
  };
  return kBans;
}

}  // namespace drought
