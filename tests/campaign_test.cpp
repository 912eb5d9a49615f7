// A sweep that is killed, or loses a machine, comes to what an undisturbed one comes to: nothing is lost and
// nothing is done twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/device/child.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

class SweepCampaign : public testing::Test {
 protected:
  SweepCampaign() { std::filesystem::create_directories(folder_); }
  ~SweepCampaign() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  /// A shell that becomes `command`, its standard error in `errors`.
  Child start(const std::string& command) const {
    Child::Options options;
    options.program = "/bin/sh";
    options.arguments = {"-c", "exec " + command + " 2>" + path("errors")};
    options.limit_ms = 300'000;
    return Child(options);
  }
  std::string sweep(const std::string& json, const std::string& more = "") const {
    return "'" + drought_binary() + "' sweep '" + source_path("scenarios/allocators") +
           "' --filter '*churn_*' --points-max 2 --json " + path(json) + " " + more;
  }
  /// What was found; not how long it took.
  nlohmann::json results(const std::string& json) const {
    std::ifstream in(path(json));
    nlohmann::json all = nlohmann::json::parse(in);
    for (nlohmann::json& result : all.at("results")) result.erase("wall_ms");
    return all;
  }
  std::string text(const std::string& name) const {
    std::ifstream in(path(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }

  const std::string folder_ = testing::TempDir() + "campaign_" + std::to_string(getpid());
};

TEST_F(SweepCampaign, GoesOnAfterAKillWithoutRepeatingOrLosingAPoint) {
  ASSERT_EQ(start(sweep("undisturbed")).finish().text(), "exit 0") << text("errors");
  {
    Child killed = start(sweep("killed", "--resume " + path("journal")));
    ASSERT_TRUE(killed.read_line()) << text("errors");
    kill(killed.pid(), SIGKILL);
    EXPECT_EQ(killed.finish().text(), "signal 9 (Killed)");
  }
  EXPECT_FALSE(std::filesystem::exists(path("killed")));
  const std::string before = text("journal/journal.jsonl");
  ASSERT_EQ(start(sweep("resumed", "--resume " + path("journal"))).finish().text(), "exit 0")
      << text("errors");
  EXPECT_EQ(results("resumed"), results("undisturbed"));
  const std::string after = text("journal/journal.jsonl");
  const std::string whole = before.substr(0, before.rfind('\n') + 1);
  EXPECT_TRUE(after.starts_with(whole)) << "what was answered before the kill is kept as it was";
  EXPECT_GT(after.size(), whole.size()) << "the kill came too late to interrupt anything";
  std::istringstream lines(after);
  std::string line;
  std::getline(lines, line);
  std::set<std::uint64_t> orders;
  while (std::getline(lines, line))
    EXPECT_TRUE(orders.insert(nlohmann::json::parse(line).at("order").get<std::uint64_t>()).second) << line;
}

TEST_F(SweepCampaign, OfAnotherKindIsRefusedThisOnesJournal) {
  ASSERT_EQ(start(sweep("a", "--site allocate --resume " + path("journal"))).finish().text(), "exit 0");
  const std::string before = text("journal/journal.jsonl");
  EXPECT_EQ(start(sweep("b", "--resume " + path("journal"))).finish().text(), "exit 2");
  EXPECT_THAT(text("errors"), HasSubstr("is the journal of another campaign"));
  EXPECT_EQ(text("journal/journal.jsonl"), before);
}

/// The process of this rank below mpirun, from its environment.
pid_t process_of_rank(pid_t mpirun, int rank) {
  const std::string wanted = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string folder = entry.path().string();
    std::ifstream environment(folder + "/environ"), status(folder + "/status");
    const std::string words{std::istreambuf_iterator<char>(environment), {}};
    const std::string about{std::istreambuf_iterator<char>(status), {}};
    if (about.find("PPid:\t" + std::to_string(mpirun) + "\n") == std::string::npos) continue;
    for (std::size_t at = 0; at < words.size(); at += std::string(words.c_str() + at).size() + 1)
      if (words.c_str() + at == wanted) return std::stoi(entry.path().filename());
  }
  return -1;
}

TEST_F(SweepCampaign, OverFourRanksOfWhichOneIsKilledComesToTheSame) {
  if (!std::filesystem::exists("/usr/bin/mpirun") || !std::filesystem::exists(drought_binary() + "_mpi"))
    GTEST_SKIP() << "OpenMPI is not here";
  const std::string mpirun =
      "/usr/bin/mpirun --allow-run-as-root --oversubscribe --mca btl self,vader,tcp --enable-recovery -n 4 ";
  ASSERT_EQ(start(sweep("alone")).finish().text(), "exit 0") << text("errors");
  ASSERT_EQ(start(mpirun + sweep("ranks")).finish().text(), "exit 0") << text("errors");
  EXPECT_EQ(results("ranks"), results("alone"));
  EXPECT_THAT(text("errors"), testing::Not(HasSubstr("a rank was lost")));

  Child running = start(mpirun + sweep("lost"));
  ASSERT_TRUE(running.read_line()) << text("errors");
  const pid_t rank = process_of_rank(running.pid(), 2);
  ASSERT_GT(rank, 0);
  kill(rank, SIGKILL);
  (void)running.finish();  // What mpirun itself answers after a loss is its own affair.
  EXPECT_THAT(text("errors"), HasSubstr("a rank was lost; others did what it held"));
  EXPECT_EQ(results("lost"), results("alone"));
}

}  // namespace
}  // namespace drought
