// Orders done by workers: an order that kills its worker, or hangs it, costs that order and no other; a
// journal outlives its writer and says so when it is torn or another's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "harness/scenario/table.hpp"
#include "harness/work/campaign.hpp"
#include "harness/work/crew.hpp"
#include "tests/child_jobs.hpp"
#include "tests/folder.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

Crew::Options crew_of(int workers, unsigned limit_ms = 60'000) {
  return {.workers = workers, .limit_ms = limit_ms, .program = job("deeds")};
}

std::map<std::size_t, Done> all_done(Workforce& workforce) {
  std::map<std::size_t, Done> all;
  while (const auto done = workforce.next()) all[done->order] = *done;
  return all;
}

TEST(Crew, AnswersEveryOrderUnderItsNumber) {
  for (const int workers : {1, 3}) {
    Crew crew(crew_of(workers));
    for (std::size_t i = 0; i < 50; ++i) crew.give(i, "say " + std::to_string(i * i));
    const auto all = all_done(crew);
    ASSERT_EQ(all.size(), 50u);
    for (const auto& [number, done] : all) EXPECT_EQ(done.answer, std::to_string(number * number));
    EXPECT_EQ(crew.started(), static_cast<std::size_t>(workers));
  }
}

TEST(Crew, LosesTheOneOrderThatEndsItsWorkerAndSaysHow) {
  const std::pair<const char*, const char*> deaths[] = {
      {"abort", "signal 6"},
      {"signal 11", "signal 11"},
      {"signal 9", "as the kernel kills for want of memory"},
      {"exit 3", "exit 3"},
  };
  for (const auto& [order, says] : deaths) {
    Crew crew(crew_of(2));
    for (std::size_t i = 0; i < 20; ++i) crew.give(i, i == 7 ? order : "say alive");
    const auto all = all_done(crew);
    ASSERT_EQ(all.size(), 20u);
    for (const auto& [number, done] : all) {
      EXPECT_EQ(done.lost, number == 7) << order << ": " << done.answer;
      EXPECT_FALSE(done.hung);
      EXPECT_THAT(done.answer, HasSubstr(number == 7 ? says : "alive"));
      const bool for_want_of_memory = done.answer.find("want of memory") != std::string::npos;
      EXPECT_EQ(for_want_of_memory, number == 7 && std::string(order) == "signal 9");
    }
    EXPECT_GE(crew.started(), 2u);
  }
}

TEST(Crew, EndsAWorkerThatDoesNotAnswerAndGoesOn) {
  Crew crew(crew_of(1, 3000));  // In which the second worker also starts.
  crew.give(0, "hang");
  crew.give(1, "say alive");
  const auto all = all_done(crew);
  EXPECT_TRUE(all.at(0).lost);
  EXPECT_TRUE(all.at(0).hung);
  EXPECT_EQ(all.at(1).answer, "alive");
}

TEST(Crew, GivesEachWorkerAnOrderBeforeAnyHoldsASecond) {
  Crew crew(crew_of(3));
  for (std::size_t i = 0; i < 3; ++i) crew.give(i, "say alive");
  EXPECT_EQ(all_done(crew).size(), 3u);
  EXPECT_EQ(crew.started(), 3u);
}

TEST(Crew, LetsAFreeWorkerDoWhatABusyOneDoesNotHold) {
  Crew crew(crew_of(2));
  crew.give(0, "hang");
  for (std::size_t i = 1; i <= 12; ++i) crew.give(i, "say alive");
  // The one that hangs holds two besides.
  for (int i = 0; i < 10; ++i) EXPECT_EQ(crew.next()->answer, "alive");
}

TEST(Crew, GivesAWorkerThatWasIdleAllTheTimeForItsNextOrder) {
  Crew crew(crew_of(2, 2000));
  crew.give(0, "hang");
  crew.give(1, "say alive");
  EXPECT_EQ(crew.next()->answer, "alive");
  EXPECT_TRUE(crew.next()->hung);
  // The second worker has been idle for as long as the first hung.
  for (std::size_t i = 2; i < 4; ++i) crew.give(i, "say alive");
  for (const auto& [number, done] : all_done(crew)) EXPECT_EQ(done.answer, "alive");
  EXPECT_EQ(crew.started(), 3u);
}

TEST(Crew, StartsWorkersThatTheKernelTakesFirstWhereMemoryRunsOut) {
  Crew crew(crew_of(1));
  crew.give(0, "read /proc/self/oom_score_adj");
  EXPECT_EQ(crew.next()->answer, "1000");
}

TEST(Crew, HasWorkersThatLeaveAnOrderAloneWhenTheyHaveLeft) {
  std::istringstream orders("one\ntwo\nthree\n");
  std::ostringstream answers;
  EXPECT_EQ(serve_orders(orders, answers,
                         [](const std::string& order) {
                           return Deed{order, order == "two"};
                         }),
            0);
  EXPECT_EQ(answers.str(), "+one\n!two\n");
}

TEST(Crew, GivesTheRestToAFreshWorkerWhenOneLeaves) {
  Crew crew(crew_of(1));
  for (std::size_t i = 0; i < 6; ++i) crew.give(i, i % 2 ? "leave" : "say stays");
  const auto all = all_done(crew);
  ASSERT_EQ(all.size(), 6u);
  for (const auto& [number, done] : all) EXPECT_FALSE(done.lost) << done.answer;
  EXPECT_EQ(crew.started(), 3u);
}

TEST(Crew, LetsAnIdleWorkerEndByItself) {
  const Folder folder;
  // What it does at its end takes it longer than a kill.
  const std::string script =
      "while read order; do echo +done; done; i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; : > \"$0\"";
  {
    Crew crew({.program = {.program = "/bin/sh", .arguments = {"-c", script, folder.path("last")}}});
    crew.give(1, "order");
    EXPECT_EQ(crew.next()->answer, "done");
  }
  EXPECT_TRUE(std::filesystem::exists(folder.path("last"))) << "it was killed at once";
}

TEST(Crew, HandsTheUsersMistakeOn) {
  Crew crew(crew_of(1));
  crew.give(0, "mistake");
  EXPECT_THROW((void)crew.next(), UserError);
}

TEST(Crew, TakesOrdersAndAnswersLargerThanAnySocketHolds) {
  Crew crew(crew_of(2));
  const std::string large(3 << 20, 'x');
  for (std::size_t i = 0; i < 6; ++i) crew.give(i, "say " + large);
  for (const auto& [number, done] : all_done(crew)) EXPECT_EQ(done.answer.size(), large.size());
}

class JournalFile : public testing::Test {
 protected:
  ~JournalFile() override { std::filesystem::remove_all(folder_); }
  std::string text() const {
    std::ifstream in(file_);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(const std::string& text) const { std::ofstream(file_) << text; }
  std::string mistake(const std::string& campaign = "sweep") const {
    try {
      Journal journal(folder_, campaign);
    } catch (const UserError& error) {
      return error.what();
    }
    return "none";
  }

  const std::string folder_ = testing::TempDir() + "journal_" + std::to_string(getpid());
  const std::string file_ = folder_ + "/journal.jsonl";
};

TEST_F(JournalFile, AnswersWhatAnEarlierOneWasTold) {
  {
    Journal journal(folder_, "sweep");
    journal.write("order a", {.answer = "answer a"});
    journal.write("order b", {.answer = "gone", .lost = true, .hung = true});
  }
  const Journal again(folder_, "sweep");
  EXPECT_EQ(again.size(), 2u);
  EXPECT_FALSE(again.was_torn());
  ASSERT_NE(again.answer_to("order a"), nullptr);
  EXPECT_EQ(again.answer_to("order a")->answer, "answer a");
  EXPECT_FALSE(again.answer_to("order a")->lost);
  EXPECT_TRUE(again.answer_to("order b")->lost);
  EXPECT_TRUE(again.answer_to("order b")->hung);
  EXPECT_EQ(again.answer_to("order c"), nullptr);
}

TEST_F(JournalFile, LosesNothingButATornLastLineWhereverItIsTorn) {
  {
    Journal journal(folder_, "sweep");
    for (int i = 0; i < 3; ++i) journal.write("order " + std::to_string(i), {.answer = "answer"});
  }
  const std::string whole = text();
  const auto lines = [&](std::size_t length) {
    return static_cast<std::size_t>(
        std::count(whole.begin(), whole.begin() + static_cast<long>(length), '\n'));
  };
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    put(whole.substr(0, length));
    {
      Journal journal(folder_, "sweep");
      EXPECT_EQ(journal.size(), lines(length) == 0 ? 0 : lines(length) - 1) << "torn after " << length;
      journal.write("order 9", {.answer = "later"});
    }
    const Journal again(folder_, "sweep");
    EXPECT_FALSE(again.was_torn()) << "torn after " << length;
    ASSERT_NE(again.answer_to("order 9"), nullptr) << "torn after " << length;
  }
}

TEST_F(JournalFile, OfAnotherVersionOrCampaignIsRefusedAndLeftAsItIs) {
  { Journal journal(folder_, "sweep --pairs"); }
  EXPECT_THAT(mistake(), HasSubstr("journal.jsonl:1: is the journal of another campaign: \"sweep --pairs\""));
  std::string other = text();
  other.replace(other.find("\"journal\":1"), 11, "\"journal\":7");
  put(other);
  EXPECT_THAT(mistake("sweep --pairs"), HasSubstr("another version: 7"));
  EXPECT_EQ(text(), other);
  put("a diary\nof somebody\n");
  EXPECT_THAT(mistake(), HasSubstr("is no journal of drought"));
  EXPECT_EQ(text(), "a diary\nof somebody\n");
  put("a diary");
  EXPECT_THAT(mistake(), HasSubstr("is no journal of drought"));
  EXPECT_EQ(text(), "a diary");
}

TEST_F(JournalFile, NamesTheLineThatIsNoAnswer) {
  { Journal journal(folder_, "sweep"); }
  put(text() + "{\"order\": 1}\n");
  EXPECT_THAT(mistake(), HasSubstr("journal.jsonl:2: is no answer"));
}

TEST_F(JournalFile, HasOneWriter) {
  Journal journal(folder_, "sweep");
  EXPECT_THAT(mistake(), HasSubstr("another campaign is writing it"));
}

TEST_F(JournalFile, LetsACampaignDoEachOrderOnce) {
  int done_here = 0;
  const auto campaign = [&](int orders) {
    Journal journal(folder_, "sweep");
    Myself myself([&](const std::string& order) {
      ++done_here;
      return Deed{order + "!"};
    });
    Campaign campaign(myself, &journal);
    int told = 0, given = 0;
    campaign.run([&] {
      if (given == orders) return false;
      campaign.add([given] { return "order " + std::to_string(given); },
                   [&told, given](const Done& done) {
                     ++told;
                     EXPECT_EQ(done.answer, "order " + std::to_string(given) + "!");
                   });
      ++given;
      return true;
    });
    EXPECT_EQ(told, orders);
    return campaign.resumed();
  };
  EXPECT_EQ(campaign(400), 0u);
  EXPECT_EQ(done_here, 400);
  EXPECT_EQ(campaign(1000), 400u);
  EXPECT_EQ(done_here, 1000);
}

}  // namespace

int run_deeds(std::istream& input, std::ostream& answers) {
  return serve_orders(input, answers, [](const std::string& order) -> Deed {
    if (order.starts_with("say ")) return {order.substr(4)};
    if (order.starts_with("read ")) {
      std::string line;
      std::ifstream in(order.substr(5));
      std::getline(in, line);
      return {line};
    }
    if (order == "leave") return {"left", true};
    if (order == "mistake") throw UserError("file.toml:1:1: a wrong word");
    if (order == "abort") std::abort();
    if (order.starts_with("signal ")) {
      const int signal = std::stoi(order.substr(7));
      std::signal(signal, SIG_DFL);  // A sanitizer's handler would make an exit of it.
      std::raise(signal);
    }
    if (order.starts_with("exit ")) _exit(std::stoi(order.substr(5)));
    for (;;) pause();
  });
}

}  // namespace drought
