// Fibers: order, nesting, exceptions and stacks, under whatever sanitizer this build has.
#include "harness/sched/fiber.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/memory/bytes.hpp"
#include "harness/sched/sanitizers.hpp"

namespace drought {
namespace {

TEST(Fiber, RunsBetweenItsSuspensionsInTheOrderItIsResumed) {
  std::string log;
  Fiber a({}, [&] {
    log += "a1 ";
    Fiber::suspend();
    log += "a2 ";
  });
  Fiber b({}, [&] {
    log += "b1 ";
    Fiber::suspend();
    log += "b2 ";
  });
  a.resume();
  b.resume();
  b.resume();
  EXPECT_TRUE(b.finished());
  EXPECT_FALSE(a.finished());
  a.resume();
  EXPECT_TRUE(a.finished());
  EXPECT_FALSE(a.abandoned());
  EXPECT_EQ(log, "a1 b1 b2 a2 ");
}

TEST(Fiber, KnowsTheInnermostOneWhenFibersNest) {
  EXPECT_EQ(Fiber::current(), nullptr);
  Fiber* inner_saw = nullptr;
  std::unique_ptr<Fiber> inner;
  Fiber outer({}, [&] {
    Fiber* const self = Fiber::current();
    inner = std::make_unique<Fiber>(FiberOptions{}, [&] {
      inner_saw = Fiber::current();
      Fiber::suspend();  // Comes back here, not to the outermost owner.
    });
    inner->resume();
    EXPECT_EQ(Fiber::current(), self);
    Fiber::suspend();
    inner->resume();
  });
  outer.resume();
  EXPECT_EQ(inner_saw, inner.get());
  EXPECT_EQ(Fiber::current(), nullptr);
  EXPECT_FALSE(inner->finished());
  outer.resume();
  EXPECT_TRUE(inner->finished());
  EXPECT_TRUE(outer.finished());
}

TEST(Fiber, HandsAnEscapedExceptionToWhoeverResumedIt) {
  Fiber fiber({}, [] {
    Fiber::suspend();
    throw std::runtime_error("escaped");
  });
  fiber.resume();
  try {
    fiber.resume();
    FAIL() << "the exception was lost";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "escaped");
  }
  EXPECT_TRUE(fiber.finished());
}

TEST(Fiber, KeepsTheExceptionItHandlesWhileAnotherHandlesItsOwn) {
  const auto body = [](std::string& saw, const char* text) {
    return [&saw, text] {
      try {
        throw std::runtime_error(text);
      } catch (...) {
        Fiber::suspend();
        try {
          throw;  // Whatever this OS thread believes is being handled.
        } catch (const std::runtime_error& error) {
          saw = error.what();
        }
      }
    };
  };
  std::string a_saw, b_saw;
  Fiber a({}, body(a_saw, "a"));
  Fiber b({}, body(b_saw, "b"));
  a.resume();
  b.resume();
  EXPECT_EQ(std::current_exception(), nullptr);
  a.resume();
  b.resume();
  EXPECT_EQ(a_saw, "a");
  EXPECT_EQ(b_saw, "b");
}

/// Uses about `frames` KiB of stack.
int deep(int frames) {
  volatile char frame[1024] = {};
  frame[0] = static_cast<char>(frames);
  return frames == 0 ? frame[0] : deep(frames - 1) + frame[0] - static_cast<char>(frames);
}

TEST(Fiber, HasTheStackItAskedFor) {
  Fiber fiber({.stack_bytes = 1_MiB}, [] { EXPECT_EQ(deep(700), 0); });
  fiber.resume();
  EXPECT_TRUE(fiber.finished());
}

TEST(FiberDeathTest, FaultsInTheGuardPageWhenItsStackOverflows) {
  if (sanitizers::thread) GTEST_SKIP() << "ThreadSanitizer's own handler overflows with the stack";
  EXPECT_DEATH(
      {
        Fiber fiber({.stack_bytes = 16_KiB}, [] { EXPECT_EQ(deep(200), 0); });
        fiber.resume();
      },
      "");
}

TEST(Fiber, LetsItsStackBeUsedAgainAfterItWasAbandonedMidway) {
  for (int round = 0; round < 100; ++round) {
    Fiber fiber({}, [] {
      [[maybe_unused]] volatile int kept[64] = {};
      kept[3] = 1;
      Fiber::suspend();
      kept[4] = 2;
    });
    fiber.resume();
    fiber.abandon();
    EXPECT_TRUE(fiber.abandoned());
  }
}

TEST(Fiber, ReturnsToItsOwnerWhenItAbandonsItself) {
  bool went_on = false;
  Fiber fiber({}, [&] {
    [[maybe_unused]] volatile int kept[64] = {};
    kept[3] = 1;
    Fiber::abandon_current();
    went_on = true;
  });
  fiber.resume();
  EXPECT_TRUE(fiber.abandoned());
  EXPECT_FALSE(went_on);
  EXPECT_EQ(Fiber::current(), nullptr);
}

void abandon_on_fault(int) { Fiber::abandon_current(); }

TEST(Fiber, CanBeAbandonedFromTheHandlerOfItsOwnFaultTwice) {
  std::vector<std::byte> alternate(64_KiB * (sanitizers::thread ? 16 : 1));
  stack_t stack{}, old_stack{};
  stack.ss_sp = alternate.data();
  stack.ss_size = alternate.size();
  ASSERT_EQ(sigaltstack(&stack, &old_stack), 0);
  struct sigaction action {
  }, old_action{};
  action.sa_handler = abandon_on_fault;
  action.sa_flags = SA_ONSTACK;
  ASSERT_EQ(sigaction(SIGSEGV, &action, &old_action), 0);
  void* const page = mmap(nullptr, 4_KiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  for (int round = 0; round < 2; ++round) {
    bool went_on = false;
    Fiber fiber({}, [&] {
      *static_cast<volatile int*>(page) = 1;
      went_on = true;
    });
    fiber.resume();
    EXPECT_TRUE(fiber.abandoned());
    EXPECT_FALSE(went_on);
  }
  ASSERT_EQ(sigaction(SIGSEGV, &old_action, nullptr), 0);
  ASSERT_EQ(sigaltstack(&old_stack, nullptr), 0);
  munmap(page, 4_KiB);
}

}  // namespace
}  // namespace drought
