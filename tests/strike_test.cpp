// The sweep of a body in a test: each way in which a body can take a failure badly is told from the others,
// with the command that repeats the one strike. The bodies here have one such defect each.
#include "harness/gtest/sweep.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "harness/gtest/matchers.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const StrikeOptions kOnDirect{.toml = kDirect};

Request of(Tag tag) { return {.bytes = 1_MiB, .tag = tag}; }

void careful(ArmedRig& rig) {
  const Buffer first(rig.memory(), of("first"));
  const Buffer second(rig.memory(), of("second"));
  must(rig.device().memset(second.data(), 1, second.bytes()), "cudaMemset");
}

void leaks_on_its_error_path(ArmedRig& rig) {
  void* const first = rig.memory().allocate(of("lost"));
  const Buffer second(rig.memory(), of("second"));
  rig.memory().deallocate(first, of("lost"));
}

TEST(BodySweep, StrikesEveryCallBeforeAndAfterItOnceAndForEverAndPassesWhatGivesAllBack) {
  // Two blocks, each an allocate and a cudaMalloc, a fill, and two cudaFree. The cudaMalloc and the fill are
  // struck before and after the deed, the others in the one way that they have.
  const StrikeReport report = strike_every_call(kOnDirect, careful);
  EXPECT_EQ(report.points, 7u);
  EXPECT_EQ(report.struck, 20u);
  EXPECT_THAT(report.failures, IsEmpty());
  EXPECT_EQ(report.why, "");
  EXPECT_EQ(sweep(kOnDirect, careful), 20u);
}

TEST(BodySweep, StrikesOnlyTheSitesAndResourcesThatAreNamed) {
  EXPECT_EQ(strike_every_call({.toml = kDirect, .site = "cudaMalloc", .forever = false}, careful).struck, 4u);
  EXPECT_EQ(strike_every_call({.toml = kDirect, .resource = "direct"}, careful).struck, 4u);
  EXPECT_EQ(strike_every_call({.toml = kDirect, .fault = "late_error", .site = "cudaMalloc"}, careful).struck,
            4u);
  EXPECT_EQ(strike_every_call({.toml = kDirect, .fault = "late_error", .site = "cuda*"}, careful).points, 3u);
}

std::string first_failure(const SweptBody& body, const std::string& site = "*") {
  const StrikeReport report = strike_every_call({.toml = kDirect, .site = site}, body);
  return report.failures.empty() ? report.why : report.failures.front().why;
}

TEST(BodySweep, FindsABlockThatAnErrorPathLoses) {
  EXPECT_THAT(first_failure(leaks_on_its_error_path), HasSubstr("leaked: live after it: 'lost'"));
}

TEST(BodySweep, FindsABlockThatAnErrorPathFreesTwice) {
  const auto frees_twice = [](ArmedRig& rig) {
    void* const first = rig.memory().allocate(of("twice"));
    try {
      const Buffer second(rig.memory(), of("second"));
    } catch (const OutOfMemory&) {
      rig.memory().deallocate(first, of("twice"));
      rig.memory().deallocate(first, of("twice"));
      throw;
    }
    rig.memory().deallocate(first, of("twice"));
  };
  EXPECT_THAT(first_failure(frees_twice), HasSubstr("failed: accounting: direct: double free of 'twice'"));
}

TEST(BodySweep, FindsABodyThatTakesAnErrorForAProofThatNothingWasDone) {
  const auto tries_twice = [](ArmedRig& rig) {
    alignas(4096) static std::byte page[4096];
    Device& device = rig.device();
    Status registered = device.host_register(page, sizeof page, {});
    if (registered != Status::success) registered = device.host_register(page, sizeof page, {});
    if (registered == Status::host_memory_already_registered) throw std::logic_error("already registered");
    must(registered, "cudaHostRegister");
    must(device.host_unregister(page), "cudaHostUnregister");
  };
  const StrikeReport report = strike_every_call({.toml = kDirect, .site = "cudaHostRegister"}, tries_twice);
  ASSERT_EQ(report.failures.size(), 1u) << report.why;
  EXPECT_EQ(report.failures.front().fault, "late_error");
  EXPECT_EQ(report.failures.front().why, "crashed: already registered");
}

TEST(BodySweep, FindsAnErrorThatNobodyReturns) {
  const auto swallows = [](ArmedRig& rig) {
    const Buffer block(rig.memory(), of("block"));
    (void)rig.device().memset(block.data(), 1, block.bytes());
  };
  EXPECT_THAT(first_failure(swallows), HasSubstr("swallowed: the error struck at call"));
}

TEST(BodySweep, FindsAnExceptionThatIsNeitherOutOfMemoryNorADeviceError) {
  const auto crashes = [](ArmedRig& rig) {
    try {
      careful(rig);
    } catch (const OutOfMemory&) {
      throw std::runtime_error("no plan B");
    }
  };
  EXPECT_EQ(first_failure(crashes), "crashed: no plan B");
}

TEST(BodySweep, FindsABodyThatTriesAgainForEver) {
  const auto insists = [](ArmedRig& rig) {
    for (;;) {
      try {
        const Buffer block(rig.memory(), of("block"));
        return;
      } catch (const OutOfMemory&) {
      }
    }
  };
  const StrikeReport report =
      strike_every_call({.toml = std::string(kDirect) + "steps_max = 1000\n"}, insists);
  ASSERT_FALSE(report.failures.empty());
  EXPECT_TRUE(report.failures.front().forever);
  EXPECT_THAT(report.failures.front().why, testing::StartsWith("hung: "));
}

/// Lends from upstream, and never again after a refusal.
class Sulks final : public Resource {
 public:
  explicit Sulks(Resource& upstream) : upstream_(upstream) {}
  void* allocate(Request request) override {
    if (sulks_) throw OutOfMemory(request, "it failed before");
    sulks_ = true;
    void* const block = upstream_.allocate(request);
    sulks_ = false;
    return block;
  }
  void deallocate(void* block, Request request) noexcept override { upstream_.deallocate(block, request); }

 private:
  Resource& upstream_;
  bool sulks_ = false;
};

TEST(BodySweep, FindsAnAllocatorThatDoesNotRecover) {
  const auto body = [](ArmedRig& rig) {
    rig.with<Sulks>("sulks");
    const Buffer block(rig.memory(), of("block"));
  };
  EXPECT_THAT(first_failure(body, "cudaMalloc"), HasSubstr("after healing the next run came to clean_error"));
}

TEST(BodySweep, StartsTheProcessAgainWhereAnErrorEndedTheContext) {
  const StrikeReport report = strike_every_call({.toml = kDirect, .fault = "context_lost"}, careful);
  EXPECT_GT(report.struck, 0u);
  EXPECT_EQ(report.failures.empty() ? report.why : report.failures.front().why, "");
}

TEST(BodySweep, ArmsTheFaultsOfItsTextTooAndExcusesThoseThatNeverStrike) {
  EXPECT_EQ(
      sweep({.toml = std::string(kDirect) + "[[fault]]\nkind = 'delay'\nwhen = {site = 'launch'}"}, careful),
      20u);
  const StrikeReport refused = strike_every_call(
      {.toml = std::string(kDirect) + "[[fault]]\nkind = 'out_of_memory'\nwhen = {tag = 'second'}"}, careful);
  EXPECT_THAT(refused.why, HasSubstr("the unswept run came to clean_error"));
}

TEST(BodySweep, FindsWhatAnAllocatorKeepsOfAFailedRequest) {
  const auto keeps = [](ArmedRig& rig) {
    void* scratch = nullptr;
    must(rig.device().malloc(scratch, 1_MiB), "cudaMalloc");
    const Buffer block(rig.memory(), of("block"));
    must(rig.device().free(scratch), "cudaFree");
  };
  EXPECT_THAT(first_failure(keeps), HasSubstr("leaked: after healing: accounting: the device still lends"));
}

TEST(BodySweep, FailsWhereNothingWasStruckOrTheBodyFailsByItself) {
  EXPECT_EQ(first_failure([](ArmedRig&) {}), "nothing was struck, so nothing was tested");
  EXPECT_THAT(first_failure([](ArmedRig& rig) { (void)rig.memory().allocate(of("kept")); }),
              HasSubstr("the unswept run leaked: live after it: 'kept'"));
  EXPECT_EQ(first_failure([](ArmedRig&) { throw OutOfMemory({.bytes = 7}); }).find("the unswept run came to"),
            0u);
}

TEST(BodySweep, SaysWhichStrikeFailedAnExpectationOfTheBody) {
  testing::TestPartResultArray failures;
  {
    testing::ScopedFakeTestPartResultReporter reporter(&failures);
    (void)strike_every_call({.toml = kDirect, .site = "cudaMemset", .forever = false}, [](ArmedRig& rig) {
      const Buffer block(rig.memory(), of("block"));
      const Status status = rig.device().memset(block.data(), 1, block.bytes());
      EXPECT_EQ(status, Status::success);
      must(status, "cudaMemset");
    });
  }
  ASSERT_EQ(failures.size(), 2) << "before the call and after it";
  EXPECT_THAT(failures.GetTestPartResult(0).message(), HasSubstr("call 3, cudaMemset of 1048576 B"));
  EXPECT_THAT(failures.GetTestPartResult(0).message(), HasSubstr("repeat: DROUGHT_POINT="));
  EXPECT_THAT(failures.GetTestPartResult(1).message(), HasSubstr(":late_error:once "));
}

TEST(BodySweep, FailsTheTestOnceWithThePointsAndTheCommandsThatRepeatThem) {
  EXPECT_NONFATAL_FAILURE(
      sweep(kOnDirect, leaks_on_its_error_path),
      "the sweep of 6 points, 16 strikes, fails: \n  at call 3, allocate of 1048576 B for 'second' at "
      "'direct', out_of_memory once\n    leaked: live after it: 'lost'");
  const std::string command =
      "--gtest_filter='BodySweep.FailsTheTestOnceWithThePointsAndTheCommandsThatRepeatThem'";
  EXPECT_NONFATAL_FAILURE(sweep(kOnDirect, leaks_on_its_error_path), command);
  EXPECT_NONFATAL_FAILURE(sweep(kOnDirect, leaks_on_its_error_path, {"pool_test.cpp", 41}),
                          "\n    repeat: DROUGHT_POINT=41:3:out_of_memory:forever ");
}

/// Sets DROUGHT_POINT for the time of a test.
class ChosenPoint {
 public:
  explicit ChosenPoint(const char* choice) { setenv("DROUGHT_POINT", choice, 1); }
  ~ChosenPoint() { unsetenv("DROUGHT_POINT"); }
};

constexpr CallSite kHere{"pool_test.cpp", 41};

TEST(BodySweep, StrikesOnlyThePointThatTheVariableChooses) {
  const ChosenPoint chosen("41:4:late_error:forever");  // A cudaMalloc, which has two ways to be struck.
  int runs = 0;
  const auto counted = [&runs](ArmedRig& rig) {
    ++runs;
    careful(rig);
  };
  EXPECT_EQ(sweep(kOnDirect, counted, kHere), 1u);
  EXPECT_EQ(runs, 3) << "unswept, struck, healed";
  EXPECT_NONFATAL_FAILURE(sweep(kOnDirect, leaks_on_its_error_path, kHere), "1 strikes, fails: ");
  EXPECT_EQ(sweep(kOnDirect, counted, {"pool_test.cpp", 60}), 0u) << "another sweep of the test";
  EXPECT_EQ(runs, 3);
}

TEST(BodySweep, FailsForAChosenPointThatItDoesNotHave) {
  const ChosenPoint chosen("41:900:out_of_memory:once");
  EXPECT_NONFATAL_FAILURE(sweep(kOnDirect, careful, kHere), "nothing was struck");
}

TEST(BodySweep, AnswersAMistakeWithOneLine) {
  const auto mistake = [](const StrikeOptions& options) {
    try {
      sweep(options, careful, kHere);
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(mistake({.site = "cudaMaloc"}),
              testing::StartsWith("pool_test.cpp:41: unknown site 'cudaMaloc'; known"));
  EXPECT_THAT(mistake({.fault = "gremlin"}),
              testing::StartsWith("pool_test.cpp:41: unknown fault 'gremlin'; known"));
  EXPECT_THAT(mistake({.toml = "[devise]"}), testing::StartsWith("pool_test.cpp:41: toml:1:"));
  for (const char* choice :
       {"", "41", "41:3", "41:3:once", "41:3:late_error", "41:3:late_error:", "41:3:late_error:twice",
        "41:0:late_error:once", "x:3:late_error:once", "41:3:late_error:once ", "41:3:gremlin:once",
        "41:3::once", "-1:3:late_error:once", "99999999999999999999:3:late_error:once"}) {
    const ChosenPoint chosen(choice);
    EXPECT_THAT(mistake(kOnDirect), HasSubstr("not LINE:CALL:FAULT:once or LINE:CALL:FAULT:forever"))
        << choice;
  }
}

}  // namespace
}  // namespace drought
