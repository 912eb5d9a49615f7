// One seed, one order; ranks agree; and a run that cannot go on says who waits for what.
#include "harness/sched/scheduler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "harness/sched/group.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::Each;
using testing::HasSubstr;

/// The order in which three processes take five steps each.
std::string order_of(std::uint64_t seed) {
  Scheduler scheduler({.seed = seed});
  std::string order;
  for (const char letter : {'a', 'b', 'c'})
    scheduler.spawn(std::string(1, letter), -1, [&, letter] {
      for (int i = 0; i < 5; ++i) {
        order += letter;
        scheduler.step(true);
      }
    });
  scheduler.run();
  return order;
}

TEST(Scheduler, RunsEveryProcessToItsEndInTheSameOrderForTheSameSeed) {
  const std::string order = order_of(test_seed());
  EXPECT_EQ(order.size(), 15u);
  EXPECT_EQ(order_of(test_seed()), order);
}

TEST(Scheduler, FindsManyOrdersOverManySeeds) {
  std::set<std::string> orders;
  for (std::uint64_t seed = 0; seed < 64; ++seed) orders.insert(order_of(seed));
  EXPECT_GT(orders.size(), 56u) << "of 64 seeds nearly each should give an order of its own";
}

TEST(Scheduler, CountsEachStepOfEachProcessOnItsVirtualClock) {
  Scheduler scheduler({});
  scheduler.spawn("p", 3, [&] {
    EXPECT_EQ(scheduler.rank(), 3);
    scheduler.step(true);
    scheduler.step(true);
  });
  EXPECT_EQ(scheduler.rank(), -1);
  scheduler.run();
  EXPECT_EQ(scheduler.now(), 2u);
  EXPECT_FALSE(scheduler.inside());
}

TEST(Scheduler, SleepsForStepsOfOthersAndAloneMovesTheClockItself) {
  Scheduler alone({});
  alone.spawn("sleeper", -1, [&] { alone.sleep(1000); });
  alone.run();
  EXPECT_EQ(alone.now(), 1000u);

  Scheduler beside({.seed = test_seed()});
  std::uint64_t woke = 0;
  beside.spawn("sleeper", -1, [&] {
    beside.sleep(100);
    woke = beside.now();
  });
  beside.spawn("worker", -1, [&] {
    for (int i = 0; i < 500; ++i) beside.step(true);
  });
  beside.run();
  EXPECT_GE(woke, 100u);
}

TEST(Scheduler, WakesAProcessOnceWhatItWaitsForHolds) {
  Scheduler scheduler({.seed = test_seed()});
  bool open = false, passed = false;
  scheduler.spawn("waiter", -1, [&] {
    scheduler.wait_until("the door", [&] { return open; });
    passed = open;
  });
  scheduler.spawn("opener", -1, [&] {
    for (int i = 0; i < 10; ++i) scheduler.step(true);
    open = true;
  });
  scheduler.run();
  EXPECT_TRUE(passed);
  EXPECT_FALSE(scheduler.hung());
}

TEST(Scheduler, SaysWhoWaitsForWhatWhenNobodyCanGoOnAndUnwindsThem) {
  struct Owned {
    int& alive;
    explicit Owned(int& count) : alive(count) { ++alive; }
    ~Owned() { --alive; }
  };
  Scheduler scheduler({});
  int alive = 0;
  scheduler.spawn("left", 0, [&] {
    const Owned owned(alive);
    scheduler.wait_until("right's lock", [] { return false; });
  });
  scheduler.spawn("right", 1, [&] {
    const Owned owned(alive);
    scheduler.wait_until("left's lock", [] { return false; });
  });
  EXPECT_NO_THROW(scheduler.run());
  EXPECT_TRUE(scheduler.hung());
  EXPECT_THAT(scheduler.hung_text(), HasSubstr("nobody can go on"));
  EXPECT_THAT(scheduler.hung_text(), HasSubstr("left waits for right's lock"));
  EXPECT_THAT(scheduler.hung_text(), HasSubstr("right waits for left's lock"));
  EXPECT_EQ(alive, 0) << "what the hung processes owned was not given back";
}

TEST(Scheduler, UnwindsOrEndsAProcessThatFreesOnlyWhenItHasDoneSo) {
  for (const bool is_killed : {false, true}) {
    Scheduler scheduler({.steps_max = is_killed ? 100u : 3u});
    bool freed = false, went_on = false;
    scheduler.spawn("freer", 0, [&] {
      scheduler.begin_freeing();
      if (is_killed) scheduler.die();
      for (int i = 0; i < 5; ++i) scheduler.step(true);
      scheduler.end_freeing();
      freed = true;
      scheduler.step(true);
      went_on = true;
    });
    if (is_killed)
      EXPECT_THROW(scheduler.run(), ProcessLost);
    else
      scheduler.run();
    EXPECT_TRUE(freed) << "it was unwound out of a free, which never throws";
    EXPECT_FALSE(went_on);
    EXPECT_EQ(scheduler.hung(), !is_killed);
  }
}

TEST(Scheduler, EndsALoopThatRetriesForEver) {
  Scheduler scheduler({.steps_max = 1000});
  scheduler.spawn("retrier", -1, [&] {
    for (;;) scheduler.step(true);
  });
  scheduler.run();
  EXPECT_TRUE(scheduler.hung());
  EXPECT_THAT(scheduler.hung_text(), HasSubstr("steps_max of 1000 is spent"));
  EXPECT_THAT(scheduler.hung_text(), HasSubstr("retrier was running"));
}

TEST(Scheduler, EndsALoopThatSwallowsEveryExceptionToo) {
  Scheduler scheduler({.steps_max = 1000});
  scheduler.spawn("swallower", -1, [&] {
    for (;;) {
      try {
        scheduler.step(true);
      } catch (...) {
      }
    }
  });
  scheduler.run();
  EXPECT_TRUE(scheduler.hung());
}

TEST(Scheduler, RethrowsTheExceptionThatAProcessLetsEscapeAfterTheOthersHaveEnded) {
  Scheduler scheduler({.seed = test_seed()});
  int steps = 0;
  scheduler.spawn("thrower", -1, [] { throw std::out_of_range("past the end"); });
  scheduler.spawn("worker", -1, [&] {
    for (; steps < 10; ++steps) scheduler.step(true);
  });
  EXPECT_THROW(scheduler.run(), std::out_of_range);
  EXPECT_EQ(steps, 10);
}

TEST(Scheduler, RunsRanksBesideTheirCallerAndHandsItTheirException) {
  Scheduler scheduler({.seed = test_seed()});
  std::vector<int> ranks;
  bool caught = false;
  scheduler.spawn("parent", -1, [&] {
    scheduler.run_beside("rank", 3, [&](int rank) { ranks.push_back(rank + 10 * scheduler.rank()); });
    try {
      scheduler.run_beside("rank", 2, [](int rank) {
        if (rank == 1) throw std::runtime_error("rank 1 fell");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
  });
  scheduler.run();
  EXPECT_THAT(ranks, testing::UnorderedElementsAre(0, 11, 22));
  EXPECT_TRUE(caught);
}

TEST(Scheduler, UnwindsRanksBeforeTheCallerWhoseStateTheyUse) {
  Scheduler scheduler({.seed = test_seed()});
  bool is_alive = false;
  std::vector<bool> saw_alive;
  scheduler.spawn("parent", -1, [&] {
    const std::shared_ptr<bool> state(&(is_alive = true), [](bool* alive) { *alive = false; });
    scheduler.run_beside("rank", 3, [&](int) {
      const std::shared_ptr<bool> user(&is_alive, [&](bool* alive) { saw_alive.push_back(*alive); });
      scheduler.wait_until("what never comes", [] { return false; });
    });
  });
  scheduler.run();
  EXPECT_TRUE(scheduler.hung());
  EXPECT_EQ(saw_alive, std::vector<bool>(3, true));
  EXPECT_FALSE(is_alive);
}

constexpr int kRanks = 4;

/// Runs `body` as each of kRanks ranks; the text of the hang, if any.
std::string run_ranks(std::uint64_t seed, const std::function<void(Group&, int)>& body) {
  Scheduler scheduler({.seed = seed});
  Group group(scheduler, kRanks);
  for (int rank = 0; rank < kRanks; ++rank)
    scheduler.spawn("rank " + std::to_string(rank), rank, [&, rank] { body(group, rank); });
  scheduler.run();
  return scheduler.hung_text();
}

TEST(Group, LetsNoRankPassABarrierBeforeAllHaveComeToIt) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    int arrived = 0;
    EXPECT_EQ(run_ranks(seed,
                        [&](Group& group, int rank) {
                          for (int round = 1; round <= 3; ++round) {
                            ++arrived;
                            group.barrier(rank);
                            EXPECT_GE(arrived, round * kRanks);
                          }
                        }),
              "");
  }
}

TEST(Group, GivesEveryRankTheSameReductionInEachRound) {
  using Reduce = Group::Reduce;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<std::int64_t> least, most, sums;
    EXPECT_EQ(run_ranks(seed,
                        [&](Group& group, int rank) {
                          least.push_back(group.all_reduce(rank, Reduce::min, 10 - rank));
                          most.push_back(group.all_reduce(rank, Reduce::max, 10 - rank));
                          sums.push_back(group.all_reduce(rank, Reduce::sum, 1 << rank));
                        }),
              "");
    EXPECT_THAT(least, Each(7));
    EXPECT_THAT(most, Each(10));
    EXPECT_THAT(sums, Each(15));
    EXPECT_EQ(least.size() + most.size() + sums.size(), 12u);
  }
}

TEST(Group, DeliversMessagesInTheOrderTheyWereSentAndToTheRankTheyWereSentTo) {
  std::vector<std::int64_t> heard;
  EXPECT_EQ(run_ranks(test_seed(),
                      [&](Group& group, int rank) {
                        if (rank == 0)
                          for (const std::int64_t value : {5, 6, 7}) group.send(0, 3, value);
                        if (rank == 1) group.send(1, 3, 50);
                        if (rank != 3) return;
                        heard.push_back(group.receive(1, 3));
                        for (int i = 0; i < 3; ++i) heard.push_back(group.receive(0, 3));
                      }),
            "");
  EXPECT_EQ(heard, (std::vector<std::int64_t>{50, 5, 6, 7}));
}

TEST(Group, HangsWhenARankLeavesWhileTheOthersWaitAndNamesThem) {
  const std::string text = run_ranks(test_seed(), [](Group& group, int rank) {
    if (rank != 2) group.barrier(rank, "kv sizes agreed");
  });
  EXPECT_THAT(text, HasSubstr("rank 0 waits for kv sizes agreed 1"));
  EXPECT_THAT(text, HasSubstr("rank 3 waits for kv sizes agreed 1"));
  EXPECT_THAT(text, testing::Not(HasSubstr("rank 2")));
}

TEST(Group, HangsOnAMessageThatNobodySends) {
  const std::string text = run_ranks(test_seed(), [](Group& group, int rank) {
    if (rank == 1) (void)group.receive(0, 1);
  });
  EXPECT_THAT(text, HasSubstr("rank 1 waits for a message from rank 0"));
}

}  // namespace
}  // namespace drought
