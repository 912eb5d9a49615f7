// The plan strikes armed faults in order, keeps the facts by which a lost error is told from a retried
// one, and counts the calls at which a fault could strike.
#include "harness/fault/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "faults/error_code.hpp"
#include "faults/out_of_memory.hpp"
#include "harness/memory/ledger.hpp"
#include "harness/scenario/run.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

class PlanTest : public testing::Test {
 protected:
  /// Answers what the fault made of the call.
  Call consider(Call call) {
    plan_.consider(call, {.call = ++calls_}, scene_);
    return call;
  }
  void arm_out_of_memory(Trigger::Options when) {
    plan_.arm(
        {"out_of_memory", std::make_unique<OutOfMemoryFault>(OutOfMemoryFault::Options{}), Trigger(when)});
  }
  void arm_error(Trigger::Options when, ErrorCode::Options options = {}) {
    plan_.arm({"error_code", std::make_unique<ErrorCode>(options), Trigger(when)});
  }
  std::string swallowed() const { return swallowed_error(record_, Outcome{}); }

  inline static const Call kMalloc{.site = Site::cudaMalloc, .bytes = 64};

  Record record_;
  Ledger ledger_{record_};
  std::unique_ptr<Device> device_ = make_host_device(profile_named("h200"), {.work = Device::Work::shapes});
  Random random_{1};
  Scene scene_{*device_, ledger_, random_};
  Plan plan_{record_, 1};
  std::uint64_t calls_ = 0;
};

TEST_F(PlanTest, RefusesTheCallThatTheTriggerPicksAndRecordsTheStrike) {
  arm_out_of_memory({.site = "cudaMalloc", .nth = 2});
  EXPECT_EQ(consider(kMalloc).refused, std::nullopt);
  EXPECT_EQ(consider(kMalloc).refused, Status::memory_allocation);
  ASSERT_EQ(record_.strikes.size(), 1u);
  EXPECT_EQ(record_.strikes[0].call, 2u);
  EXPECT_EQ(record_.strikes[0].site, Site::cudaMalloc);
  EXPECT_EQ(record_.strikes[0].bytes, 64u);
  EXPECT_TRUE(record_.strikes[0].error);
  EXPECT_EQ(plan_.armed()[0].struck, 1u);
}

TEST_F(PlanTest, StrikesOnlySitesAtWhichTheFaultHasAMeaning) {
  arm_out_of_memory({});
  EXPECT_EQ(consider({.site = Site::cudaFree}).refused, std::nullopt);
  EXPECT_EQ(consider({.site = Site::cudaEventRecord}).refused, std::nullopt);
  EXPECT_EQ(consider({.site = Site::cuMemMap}).refused, Status::memory_allocation);
}

TEST_F(PlanTest, RefusesToArmAFaultAtASiteItCannotStrikeAndNamesThoseItCan) {
  try {
    arm_out_of_memory({.site = "cudaFree"});
    FAIL() << "armed";
  } catch (const std::invalid_argument& mistake) {
    EXPECT_THAT(mistake.what(), HasSubstr("cannot strike at site 'cudaFree'"));
    EXPECT_THAT(mistake.what(), HasSubstr("cudaMalloc"));
  }
}

TEST_F(PlanTest, RefusesToArmATriggerThatCanNeverStrike) {
  EXPECT_THROW(arm_out_of_memory({.site = "cudaMalloc", .all = {{.site = "allocate"}}}), TriggerMistake);
  EXPECT_THROW(arm_out_of_memory({.nth = 2, .any = {{.nth = 1}}}), TriggerMistake);
  EXPECT_TRUE(plan_.armed().empty());
}

TEST_F(PlanTest, TakesAsManyFaultsAsACallCanRememberAndNoMore) {
  for (std::size_t i = 0; i < Plan::kFaultsMax; ++i) arm_out_of_memory({.nth = 100});
  EXPECT_THROW(arm_out_of_memory({}), std::invalid_argument);
}

TEST_F(PlanTest, NumbersStreamsByTheirFirstUse) {
  arm_out_of_memory({.site = "cudaMalloc", .stream = 2});
  const auto on = [](std::uint64_t stream) {
    Call call = kMalloc;
    call.stream = {stream};
    return call;
  };
  EXPECT_FALSE(consider(on(700)).refused);
  EXPECT_FALSE(consider(on(0)).refused);
  EXPECT_TRUE(consider(on(300)).refused);
  EXPECT_FALSE(consider(on(700)).refused);
  EXPECT_TRUE(consider(on(300)).refused);
}

/// Notes which calls it was told of, and whether it had struck them.
class Watches final : public Fault {
 public:
  Watches(bool all, std::vector<bool>& told) : all_(all), told_(told) {}
  bool can_strike(Site) const override { return true; }
  void strike(Call&, Scene&) override {}
  bool watches() const override { return all_; }
  void answered(Call&, Status, bool struck, Scene&) override { told_.push_back(struck); }

 private:
  const bool all_;
  std::vector<bool>& told_;
};

TEST_F(PlanTest, TellsAFaultHowTheCallsEndedThatItStruckAndThoseThatItWatches) {
  for (const bool watches : {false, true}) {
    Plan plan(record_, 1);
    std::vector<bool> told;
    plan.arm({"watches", std::make_unique<Watches>(watches, told), Trigger({.nth = 2})});
    for (std::uint64_t i = 1; i <= 3; ++i) {
      Call call = kMalloc;
      plan.consider(call, {.call = i}, scene_);
      if (plan.awaits(call)) plan.answered(call, Status::success, scene_);
    }
    EXPECT_EQ(told, watches ? (std::vector{false, true, false}) : (std::vector{true}));
  }
}

TEST_F(PlanTest, LetsTheFirstFaultThatRefusesACallEndIt) {
  arm_out_of_memory({.site = "cudaMalloc"});
  arm_error({.site = "cudaMalloc"}, {.error = "cudaErrorInvalidValue"});
  EXPECT_EQ(consider(kMalloc).refused, Status::memory_allocation);
  EXPECT_EQ(plan_.armed()[1].struck, 0u);
}

TEST_F(PlanTest, StrikesNothingOnceItIsDisarmedAndGoesOnCounting) {
  arm_out_of_memory({});
  plan_.keep_points();
  plan_.disarm();
  EXPECT_EQ(consider(kMalloc).refused, std::nullopt);
  EXPECT_EQ(plan_.points().size(), 1u);
}

TEST_F(PlanTest, CallsAnErrorThatNobodyReturnedOrRetriedSwallowed) {
  arm_out_of_memory({.nth = 1});
  consider(kMalloc);
  EXPECT_THAT(swallowed(), HasSubstr("call 1, cudaMalloc of 64 B"));
}

TEST_F(PlanTest, CallsAnErrorRetriedOnceItsSiteIsCalledAgainForItsTag) {
  arm_out_of_memory({.tag = "kv", .nth = 1});
  Call call = kMalloc;
  call.tag = "kv";
  consider(call);
  consider(kMalloc);
  EXPECT_NE(swallowed(), "") << "a call for another tag was taken for a retry";
  consider(call);
  EXPECT_TRUE(record_.strikes[0].retried);
  EXPECT_EQ(swallowed(), "");
}

TEST_F(PlanTest, DoesNotCallAnErrorSwallowedThatTheRunReturnedOrRecordedAsAFallback) {
  arm_out_of_memory({.nth = 1});
  consider(kMalloc);
  EXPECT_EQ(swallowed_error(record_, {Outcome::Kind::clean_error, "out of memory"}), "");
  record_.fallbacks.push_back("host memory instead");
  EXPECT_EQ(swallowed(), "");
}

TEST_F(PlanTest, TakesNotReadyForAnAnswerAndNotForAnError) {
  arm_error({.site = "cudaEventQuery"});
  EXPECT_EQ(consider({.site = Site::cudaEventQuery}).refused, Status::not_ready);
  EXPECT_EQ(plan_.armed()[0].struck, 1u);
  EXPECT_EQ(swallowed(), "");
}

TEST_F(PlanTest, CountsEveryCallThatCouldFailAndNoneThatCannotOrHasFailedAlready) {
  arm_out_of_memory({.nth = 1});
  plan_.keep_points();
  consider(kMalloc);
  consider(kMalloc);
  consider({.site = Site::deallocate});
  consider({.site = Site::release});
  consider({.site = Site::cudaFree});
  ASSERT_EQ(plan_.points().size(), 2u);
  EXPECT_EQ(plan_.points()[0].call, 2u);
  EXPECT_EQ(plan_.points()[1].site, Site::cudaFree);
}

TEST_F(PlanTest, KeepsNoPointsUnlessAsked) {
  consider(kMalloc);
  EXPECT_TRUE(plan_.points().empty());
}

TEST(Sites, NameEachDocumentedErrorThatAFaultMayAnswer) {
  for (int i = 0; i < site_count; ++i) {
    const Site site = static_cast<Site>(i);
    EXPECT_EQ(site_named(name(site)), site);
    for (const Status error : documented_errors(site)) EXPECT_NE(error, Status::success) << name(site);
  }
  EXPECT_THROW((void)site_named("cudaMallocPlease"), std::invalid_argument);
}

TEST(Sites, MatchGlobs) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("cu*Free", "cuMemAddressFree"));
  EXPECT_TRUE(glob_matches("*a*b", "aab"));
  EXPECT_TRUE(glob_matches("c?da*", "cudaMalloc"));
  EXPECT_FALSE(glob_matches("cudaMalloc", "cudaMallocHost"));
  EXPECT_FALSE(glob_matches("*Host", "cudaMalloc"));
  EXPECT_FALSE(glob_matches("", "x"));
}

}  // namespace
}  // namespace drought
