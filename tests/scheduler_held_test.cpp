// A process that is killed, or hangs, in what no exception may leave: it learns of it afterwards.
#include <gtest/gtest.h>

#include "harness/sched/scheduler.hpp"

namespace drought {
namespace {

TEST(Scheduler, KillsAProcessInWhatNoExceptionMayLeaveOnceThatIsOver) {
  Scheduler scheduler({});
  int came_to = 0;
  struct Frees {
    Scheduler& scheduler;
    ~Frees() {
      const ExceptionsHeld held(scheduler);
      scheduler.die();  // Again, while it is being unwound.
      scheduler.step();
    }
  };
  scheduler.spawn("killed", 7, [&] {
    const Frees frees{scheduler};
    {
      const ExceptionsHeld held(scheduler);
      const ExceptionsHeld deeper(scheduler);
      scheduler.die();
      scheduler.step();
      came_to = 1;
    }
    EXPECT_EQ(scheduler.deaths(), 0u);
    scheduler.step();
    came_to = 2;
  });
  EXPECT_THROW(scheduler.run(), ProcessLost);
  EXPECT_EQ(came_to, 1);
  EXPECT_EQ(scheduler.deaths(), 1u);
}

TEST(Scheduler, TellsOfAHangOnceWhatNoExceptionMayLeaveIsOver) {
  Scheduler scheduler({.steps_max = 10});
  int came_to = 0;
  scheduler.spawn("frees", -1, [&] {
    {
      const ExceptionsHeld held(scheduler);
      for (int i = 0; i < 20; ++i) scheduler.step();
      came_to = 1;
    }
    scheduler.step();
    came_to = 2;
  });
  scheduler.run();
  EXPECT_TRUE(scheduler.hung());
  EXPECT_EQ(came_to, 1);
}

}  // namespace
}  // namespace drought
