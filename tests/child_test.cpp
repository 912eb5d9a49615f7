// A process that hangs, dies or floods must cost its parent nothing but a record that says so.
#include "harness/device/child.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "tests/child_jobs.hpp"

namespace drought {

int run_act(std::istream& input, std::ostream& record) {
  std::string verb, line;
  std::size_t number = 0;
  input >> verb;
  if (verb == "exit" && input >> number) return static_cast<int>(number);
  if (verb == "abort") {
    signal(SIGABRT, SIG_DFL);
    std::abort();
  }
  if (verb == "say" && input >> number) {
    record << std::string(number, 'x');
    return 0;
  }
  if (verb == "hang") {
    record << "hanging" << std::endl;
    for (;;) pause();
  }
  if (verb != "echo") return 2;
  std::getline(input, line);
  while (std::getline(input, line)) record << "heard " << line << std::endl;
  return 0;
}

namespace {

using How = ChildEnd::How;

ChildEnd act(std::string_view input) { return Child(job("act")).finish(input); }

TEST(Child, SaysTheExitCodeOfAProcessThatExits) {
  const ChildEnd end = act("exit 7");
  EXPECT_EQ(end.how, How::exited);
  EXPECT_EQ(end.number, 7);
  EXPECT_EQ(end.text(), "exit 7");
  EXPECT_FALSE(end.succeeded());
}

TEST(Child, SaysTheSignalOfAProcessThatWasKilledByOne) {
  const ChildEnd end = act("abort");
  EXPECT_EQ(end.how, How::signalled);
  EXPECT_EQ(end.number, SIGABRT);
  EXPECT_NE(end.text().find("signal 6"), std::string::npos) << end.text();
}

TEST(Child, ReadsTheWholeRecordOfAProcessThatPrintsMoreThanAPipeHolds) {
  const ChildEnd end = act("say 3000000");
  EXPECT_TRUE(end.succeeded()) << end.text();
  EXPECT_EQ(end.record, std::string(3'000'000, 'x'));
}

TEST(Child, KeepsNoMoreOfTheRecordThanItsBoundAndSaysThatItCutIt) {
  Child::Options options = job("act");
  options.record_bytes_max = 1000;
  const ChildEnd end = Child(options).finish("say 300000");
  EXPECT_EQ(end.record, std::string(1000, 'x'));
  EXPECT_TRUE(end.truncated);
  EXPECT_EQ(end.how, How::exited) << "the rest was not read, so the child could not end";
  EXPECT_FALSE(end.succeeded());
}

TEST(Child, HandsOverAnInputLargerThanAPipeWhileTheProcessIsAlreadyPrinting) {
  std::string input = "echo\n", expected;
  for (int i = 0; i < 100'000; ++i) {
    const std::string line = "line " + std::to_string(i) + '\n';
    input += line;
    expected += "heard " + line;
  }
  const ChildEnd end = act(input);
  EXPECT_TRUE(end.succeeded()) << end.text();
  EXPECT_TRUE(end.record == expected) << end.record.size() << " bytes came back";
}

TEST(Child, AnswersLineByLineWhileItLives) {
  Child child(job("act"));
  ASSERT_TRUE(child.send_line("echo"));
  for (const std::string word : {"one", "two"}) {
    ASSERT_TRUE(child.send_line(word));
    EXPECT_EQ(child.read_line(), "heard " + word);
  }
  const ChildEnd end = child.finish("three\n");
  EXPECT_EQ(end.record, "heard three\n");
  EXPECT_TRUE(end.succeeded());
}

TEST(Child, IsKilledByTheWatchdogWhenItNeverEnds) {
  Child::Options options = job("act");
  options.limit_ms = 300;
  Child child(options);
  const pid_t pid = child.pid();
  const ChildEnd end = child.finish("hang");
  EXPECT_EQ(end.how, How::timed_out);
  EXPECT_EQ(end.text(), "killed after 300 ms without an end");
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Child, GivesUpOnALineThatNeverComes) {
  Child::Options options = job("act");
  options.limit_ms = 300;
  Child child(options);
  ASSERT_TRUE(child.send_line("echo"));
  EXPECT_EQ(child.read_line(), std::nullopt);
}

TEST(Child, IsKilledAndReapedWhenItsOwnerIsDestroyed) {
  pid_t pid = -1;
  {
    Child child(job("act"));
    pid = child.pid();
    ASSERT_TRUE(child.send_line("hang"));
    ASSERT_EQ(child.read_line(), "hanging");
    Child moved = std::move(child);
    EXPECT_EQ(kill(pid, 0), 0) << "moving the owner ended the process";
  }
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD) << "the process was not reaped";
}

TEST(Child, ReportsAProcessThatDiedBeforeItReadItsInput) {
  const ChildEnd end = act("exit 3\n" + std::string(4'000'000, '\n'));
  EXPECT_EQ(end.text(), "exit 3");
}

TEST(Child, RunsAnyProgramWithGivenArguments) {
  Child::Options options;
  options.program = "/bin/cat";
  options.arguments = {"-"};
  EXPECT_EQ(Child(options).finish("as it was").record, "as it was");
}

TEST(Child, ThrowsWhenTheProgramIsNotThere) {
  Child::Options options;
  options.program = "/nonexistent/program";
  EXPECT_THROW(Child{options}, std::system_error);
}

TEST(Child, ExitsWithTheUsersMistakeOnAnUnknownJob) { EXPECT_EQ(Child(job("no such")).finish().number, 2); }

}  // namespace
}  // namespace drought
