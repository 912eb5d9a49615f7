// The tests' entry: a child job when it was started as one, the tests otherwise. Every choice comes from
// one seed, each failing test is followed by the one command that repeats it, and skips are listed with
// their reasons. Exit: 0 all passed, 1 something failed, 2 a word of the command line is unknown, 77
// nothing was tested.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "harness/device/child.hpp"
#include "harness/device/cuda_peer.hpp"
#include "harness/work/crew.hpp"
#include "tests/child_jobs.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

std::uint64_t seed_of_run = 1;

/// Says after each failing test how to repeat it, and at the end what was skipped and why.
class Epilogue final : public testing::EmptyTestEventListener {
 public:
  explicit Epilogue(std::string program) : program_(std::move(program)) {}

  void OnTestEnd(const testing::TestInfo& test) override {
    const std::string name = std::string(test.test_suite_name()) + "." + test.name();
    const testing::TestResult& result = *test.result();
    if (result.Skipped()) {
      std::string why;
      for (int i = 0; i < result.total_part_count(); ++i)
        if (result.GetTestPartResult(i).skipped()) why = result.GetTestPartResult(i).message();
      skipped_.push_back(name + ": " + (why.empty() ? "gives no reason" : why));
    }
    if (result.Failed())
      std::cout << "repeat: " << program_ << " --gtest_filter='" << name << "' --seed " << seed_of_run
                << std::endl;
  }

  void OnTestProgramEnd(const testing::UnitTest&) override {
    if (skipped_.empty()) return;
    std::cout << skipped_.size() << " skipped:\n";
    for (const std::string& line : skipped_) std::cout << "  " << line << '\n';
    std::cout << std::flush;
  }

 private:
  const std::string program_;
  std::vector<std::string> skipped_;
};

/// Takes `--seed N` out of what gtest left over. false, and says why, when another word is left.
bool take_seed(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word != "--seed") {
      std::cerr << "drought_tests: unknown option '" << word
                << "'; known: --seed N and gtest's own, see --help\n";
      return false;
    }
    const char* const text = i + 1 < argc ? argv[++i] : "";
    const char* const end = text + std::strlen(text);
    const auto [after, error] = std::from_chars(text, end, seed_of_run);
    if (error != std::errc() || after != end || after == text) {
      std::cerr << "drought_tests: --seed takes a whole number, not '" << text << "'\n";
      return false;
    }
  }
  return true;
}

}  // namespace

std::uint64_t test_seed() { return seed_of_run; }

}  // namespace drought

int main(int argc, char** argv) {
  using namespace drought;
  static constexpr ChildJob kJobs[] = {
      {"act", run_act},        {"cuda_case", run_cuda_case},         {"deadly_worker", run_deadly_worker},
      {"deeds", run_deeds},    {"dying_worker", run_dying_worker},   {"guard_case", run_guard_case},
      {"peer", run_cuda_peer}, {"semantics_row", run_semantics_row}, {worker_job, run_worker},
  };
  if (const auto code = run_as_child(argc, argv, kJobs)) return *code;
  testing::InitGoogleMock(&argc, argv);
  const bool only_help = argc > 1 && std::string_view(argv[1]) == "--help";
  if (!only_help && !take_seed(argc, argv)) return 2;
  // rapidcheck reads its seed from here, and would draw one of its own otherwise.
  setenv("RC_PARAMS", ("seed=" + std::to_string(test_seed())).c_str(), 0);
  testing::UnitTest& all = *testing::UnitTest::GetInstance();
  all.listeners().Append(new Epilogue(argv[0]));  // gtest owns and deletes it.
  const int failed = RUN_ALL_TESTS();
  if (only_help || testing::GTEST_FLAG(list_tests)) return failed;
  return failed == 0 && all.successful_test_count() == 0 ? 77 : failed;
}
