// A sweep that is killed, or loses a machine, comes to what an undisturbed one comes to: nothing is lost and
// nothing is done twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <vector>

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
    return sweep_of(source_path("scenarios/allocators"), json, "--filter '*churn_*' --points-max 2 " + more);
  }
  std::string sweep_of(const std::string& scenarios, const std::string& json, const std::string& more) const {
    return "'" + drought_binary() + "' sweep '" + scenarios + "' --json " + path(json) + " " + more;
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

/// Sweeps that every rank does runs of.
class SweepOverRanks : public SweepCampaign {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/mpirun") || !std::filesystem::exists(drought_binary() + "_mpi"))
      GTEST_SKIP() << "OpenMPI is not here";
  }
  static std::string mpirun(int ranks) {
    return "/usr/bin/mpirun --allow-run-as-root --oversubscribe --mca btl self,vader,tcp --enable-recovery "
           "-n " +
           std::to_string(ranks) + " ";
  }
  /// A scenario of the folder "scenarios": so many blocks, from a library whose function `alloc` is.
  void scenario(const std::string& name, int blocks, const std::string& alloc = "") const {
    std::filesystem::create_directories(path("scenarios"));
    std::ofstream out(path("scenarios/" + name));
    out << "title = '" << name
        << "'\n[device]\nwork = 'shapes'\n[workload]\nkind = 'churn'\nallocations = " << blocks << "\n";
    if (!alloc.empty()) out << "[[resource]]\nkind = 'shared_object'\nalloc = '" << alloc << "'\n";
  }
  /// The orders of a journal, as they were answered.
  std::vector<std::uint64_t> answered(const std::string& journal) const {
    std::istringstream lines(text(journal + "/journal.jsonl"));
    std::string line;
    std::getline(lines, line);
    std::vector<std::uint64_t> orders;
    while (std::getline(lines, line))
      orders.push_back(nlohmann::json::parse(line).at("order").get<std::uint64_t>());
    return orders;
  }
};

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

TEST_F(SweepOverRanks, OfWhichOneIsKilledComesToTheSame) {
  ASSERT_EQ(start(sweep("alone")).finish().text(), "exit 0") << text("errors");
  ASSERT_EQ(start(mpirun(4) + sweep("ranks")).finish().text(), "exit 0") << text("errors");
  EXPECT_EQ(results("ranks"), results("alone"));
  EXPECT_THAT(text("errors"),
              testing::Not(testing::AnyOf(HasSubstr("a rank was lost"), HasSubstr("exit status"))));

  Child running = start(mpirun(4) + sweep("lost"));
  ASSERT_TRUE(running.read_line()) << text("errors");
  const pid_t rank = process_of_rank(running.pid(), 2);
  ASSERT_GT(rank, 0);
  kill(rank, SIGKILL);
  (void)running.finish();  // What mpirun itself answers after a loss is its own affair.
  EXPECT_THAT(text("errors"), HasSubstr("a rank was lost; others did what it held"));
  EXPECT_EQ(results("lost"), results("alone"));
}

TEST_F(SweepOverRanks, ReadsNoMessageOutOfARankThatMayBeLost) {
  scenario("a.toml", 2);
  const std::string told =
      mpirun(2) + "--mca mpi_show_mca_params enviro " + sweep_of(path("scenarios"), "a", "");
  ASSERT_EQ(start(told).finish().text(), "exit 0") << text("errors");
  EXPECT_THAT(text("errors"), HasSubstr("btl_vader_single_copy_mechanism=none"));
}

TEST_F(SweepOverRanks, HandsOutTwoOrdersAtATimeSoThatALostOneHoldsUpNoMore) {
  scenario("a.toml", 2);
  scenario("b.toml", 40);
  const auto sweep = [&](const std::string& what, const std::string& name, const std::string& more) {
    return sweep_of(path(what), name, "--all --resume " + path(name + "_journal") + more);
  };
  ASSERT_EQ(start(sweep("scenarios/b.toml", "alone", " --jobs 1")).finish().text(), "exit 0");
  Child running = start(mpirun(2) + sweep("scenarios", "lost", ""));
  ASSERT_TRUE(running.read_line()) << text("errors");
  const pid_t rank = process_of_rank(running.pid(), 1);
  ASSERT_GT(rank, 0);
  kill(rank, SIGKILL);
  (void)running.finish();

  std::map<std::uint64_t, long> turns;
  for (const std::uint64_t order : answered("alone_journal")) turns.emplace(order, turns.size());
  ASSERT_GE(turns.size(), 200u);
  std::set<std::uint64_t> unanswered;
  for (const auto& [order, turn] : turns) unanswered.insert(order);
  // Once the last is done, only what the lost rank held is left.
  const long last = static_cast<long>(turns.size()) - 1;
  std::size_t held = 0;
  bool is_last_done = false;
  for (const std::uint64_t order : answered("lost_journal")) {
    if (!turns.contains(order)) continue;
    EXPECT_EQ(unanswered.erase(order), 1u) << "answered twice";
    held += is_last_done;
    is_last_done = is_last_done || turns[order] == last;
  }
  EXPECT_EQ(unanswered.size(), 0u);
  EXPECT_LE(held, 4u) << "of " << turns.size() << " orders, by two ranks";
}

TEST_F(SweepOverRanks, IsDoneByTheOthersWhileOneHangs) {
  scenario("a.toml", 3, "pause");  // The first order, which the first rank is given.
  scenario("b.toml", 10);
  (void)start(mpirun(2) + sweep_of(path("scenarios"), "ranks", "--watchdog 6 --resume " + path("journal")))
      .finish();
  std::istringstream lines(text("journal/journal.jsonl"));
  std::vector<bool> hung;
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) hung.push_back(nlohmann::json::parse(line).at("hung").get<bool>());
  EXPECT_GE(hung.size(), 40u);
  EXPECT_EQ(std::count(hung.begin(), hung.end(), true), 1);
  EXPECT_TRUE(hung.back()) << "what the first rank could not do was done meanwhile";
}

TEST_F(SweepOverRanks, TellsEachDeathOfAWorkerAsOneProcessTellsIt) {
  scenario("aborts.toml", 3, "abort");
  scenario("ends.toml", 3, "_exit");
  scenario("hangs.toml", 3, "pause");
  scenario("survives.toml", 3);
  const auto sweep = [&](const std::string& name) {
    return sweep_of(path("scenarios"), name, "--watchdog 3");
  };
  EXPECT_EQ(start(sweep("alone")).finish().text(), "exit 1") << text("errors");
  (void)start(mpirun(3) + sweep("ranks")).finish();
  EXPECT_THAT(text("errors"), HasSubstr("drought: exit status 1"));
  EXPECT_EQ(results("ranks"), results("alone"));
  const std::string told = text("ranks");
  for (const char* const says : {"the unswept run crashes: its process ended with signal 6",
                                 "the unswept run crashes: its process ended with exit ",
                                 "the unswept run hangs: no answer within 3000 ms", "\"survived\": "})
    EXPECT_THAT(told, HasSubstr(says));
}

TEST_F(SweepOverRanks, HandsTheUsersMistakeOnThatAnotherRankMet) {
  // The first rank is busy while the second finds that there is no such function.
  scenario("a.toml", 200'000);
  scenario("b.toml", 3, "no_such_function");
  (void)start(mpirun(2) + sweep_of(path("scenarios"), "none", "")).finish();
  EXPECT_THAT(text("errors"), HasSubstr("b.toml:7:1: the built-in example has no symbol 'no_such_function'"));
  EXPECT_THAT(text("errors"), HasSubstr("drought: exit status 2"));
}

}  // namespace
}  // namespace drought
