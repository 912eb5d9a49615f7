// The rig that tests of other projects arm: what it refuses and how it says so, allocators of the test's own
// on top of it, and what its matchers say of its memory.
#include "harness/gtest/armed_rig.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "allocators/bump.hpp"
#include "faults/out_of_memory.hpp"
#include "harness/gtest/matchers.hpp"
#include "harness/gtest/mock_resource.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

using testing::_;
using testing::HasSubstr;
using testing::Not;

constexpr CallSite kHere{"pool_test.cpp", 41};

std::string mistake_in(const std::string& toml) {
  try {
    ArmedRig rig(toml, {}, kHere);
  } catch (const UserError& mistake) {
    return mistake.what();
  }
  return "accepted";
}

TEST(ArmedRig, AnswersAMistakeInItsTextWithOneLineThatNamesTheTestAndThePlaceInIt) {
  const auto says = [](const std::string& what) {
    return testing::StartsWith("pool_test.cpp:41: toml:" + what);
  };
  EXPECT_THAT(mistake_in("[[fault]]\nkind = 'gremlin'"), says("2:8: unknown fault 'gremlin'; known: out_of"));
  EXPECT_THAT(mistake_in("[device]\nprofile = 'h100-80g\n"), says("2:"));
  EXPECT_THAT(mistake_in("[device]\ncapacity = 3"), says("2:1: unknown key 'capacity'; known: profile"));
  EXPECT_THAT(mistake_in("[[resource]]\nkind = 'malloc'"),
              says("2:8: unknown resource 'malloc'; known: dir"));
  EXPECT_THAT(mistake_in("[workload]\nkind = 'churn'"), says("1:"));
  EXPECT_THAT(mistake_in("[workload]\nkind = 'churn'"), HasSubstr("known: device, resource, fault"));
  EXPECT_THAT(mistake_in("[[fault]]\nkind = 'out_of_memory'\nwhen = {site = 'cudaMaloc'}"), says("3:8: "));
  for (const char* text : {"[", "[[fault]]\nkind = 'delay'\nwhen = {nth = -1}"})
    EXPECT_THAT(mistake_in(text), Not(HasSubstr("\n")));
}

std::string mistake_of(const char* kind, const Trigger::Options& when) {
  ArmedRig rig;
  try {
    rig.arm(kind, when, kHere);
  } catch (const UserError& mistake) {
    return mistake.what();
  }
  rig.excuse_faults();
  return "accepted";
}

TEST(ArmedRig, AnswersAMistakeInAFaultThatATestArmsWithOneLineToo) {
  EXPECT_EQ(mistake_of("out_of_memory", {.site = "cudaMalloc", .nth = 1}), "accepted");
  EXPECT_THAT(mistake_of("gremlin", {}),
              testing::StartsWith("pool_test.cpp:41: unknown fault 'gremlin'; known: "));
  EXPECT_THAT(mistake_of("out_of_memory", {.site = "cudaMaloc"}), testing::StartsWith("pool_test.cpp:41: "));
  EXPECT_THAT(mistake_of("out_of_memory", {.nth = 1, .every = 2}), HasSubstr("one of nth, from and every"));
}

TEST(ArmedRig, ArmsFaultsOfTheCatalogueAndOfTheTestsOwn) {
  ArmedRig rig(kDirect);
  rig.arm("out_of_memory", {.site = "allocate", .tag = "first"});
  rig.arm("mine", std::make_unique<OutOfMemoryFault>(OutOfMemoryFault::Options{}), {.tag = "second"});
  EXPECT_THROW((void)rig.memory().allocate({.bytes = 1, .tag = "first"}), OutOfMemory);
  EXPECT_THROW((void)rig.memory().allocate({.bytes = 1, .tag = "second"}), OutOfMemory);
  EXPECT_EQ(rig.struck(), 2u);
}

TEST(ArmedRig, FailsTheTestWhoseFaultNeverStruck) {
  EXPECT_NONFATAL_FAILURE({ ArmedRig rig("[[fault]]\nkind = 'out_of_memory'"); },
                          "fault 'out_of_memory' never struck");
}

TEST(ArmedRig, PutsAnAllocatorOfTheTestsOwnOnTopAndAnswersItAgainUnderItsName) {
  ArmedRig rig(kDirect);
  const Bump& bump = rig.with<Bump>("mine", Bump::Options{.slab_bytes = 1_MiB});
  EXPECT_EQ(&rig.with<Bump>("mine", Bump::Options{.slab_bytes = 9_MiB}), &bump);
  const Buffer block(rig.memory(), {.bytes = 300, .tag = "kv"});
  EXPECT_EQ(bump.used_bytes(), 300u);
  EXPECT_EQ(rig.device().held_bytes(), 2_MiB) << "the slab, in the device's granularity";
  EXPECT_THAT(rig, AccountsFor(300));
}

/// Lends what it borrows, and keeps the first block when it ends.
class KeepsOne final : public Resource {
 public:
  explicit KeepsOne(Resource& upstream) : upstream_(upstream) {}
  void* allocate(Request request) override { return upstream_.allocate(request); }
  void deallocate(void* block, Request request) noexcept override {
    if (std::exchange(has_kept_, true)) upstream_.deallocate(block, request);
  }

 private:
  Resource& upstream_;
  bool has_kept_ = false;
};

TEST(ArmedRig, FindsWhatAnAllocatorKeepsWhenItEnds) {
  ArmedRig rig(kDirect);
  rig.with<KeepsOne>("keeper");
  for (const char* tag : {"a", "b"}) Buffer(rig.memory(), {.bytes = 1_MiB, .tag = tag});
  EXPECT_THAT(rig, HasNoLeaks()) << "not known before it ends";
  rig.end();
  EXPECT_THAT(rig.complaint(), HasSubstr("keeper ended and kept 1048576 B of 'a'"));
  EXPECT_THAT(rig, Not(PassesEveryCheck()));
}

/// What the matcher says of the rig that it does not match.
template <typename Matcher>
std::string explanation(const Matcher& matcher, const ArmedRig& rig) {
  testing::StringMatchResultListener listener;
  EXPECT_FALSE(testing::ExplainMatchResult(matcher, rig, &listener));
  return listener.str();
}

TEST(RigMatchers, ExplainThemselvesByTheBlocksThatTheyAreAbout) {
  ArmedRig rig(std::string(kDirect) + "[[resource]]\nkind = 'caching'");
  EXPECT_THAT(rig, HasNoLeaks());
  EXPECT_THAT(rig, IsDrained());
  {
    const Buffer kept(rig.memory(), {.bytes = 3_MiB, .tag = "kv"});
    const Buffer other(rig.memory(), {.bytes = 1_MiB, .tag = "logits"});
    EXPECT_THAT(rig, AccountsFor(4_MiB));
    EXPECT_EQ(explanation(AccountsFor(3_MiB), rig), "which holds 4194304 B");
    EXPECT_THAT(explanation(HasNoLeaks(), rig), HasSubstr("which still holds 'kv'"));
    EXPECT_THAT(explanation(HasNoLeaks(), rig), HasSubstr("(and 1 more)"));
  }
  EXPECT_THAT(rig, HasNoLeaks());
  EXPECT_THAT(explanation(IsDrained(), rig), HasSubstr("the device lends 2"))
      << "the cache keeps its segments";
  EXPECT_EQ(testing::PrintToString(rig), "a rig whose test holds 0 B");
}

TEST(RigMatchers, TellABlockThatCameBackWronglyFromALeak) {
  ArmedRig rig(kDirect);
  const Request request{.bytes = 1_MiB, .tag = "kv"};
  void* const block = rig.memory().allocate(request);
  rig.memory().deallocate(block, request);
  EXPECT_THAT(rig, PassesEveryCheck());
  rig.memory().deallocate(block, request);
  EXPECT_THAT(explanation(HasNoLeaks(), rig), HasSubstr("double free of 'kv'"));
  EXPECT_THAT(explanation(PassesEveryCheck(), rig), HasSubstr("accounting: "));
}

TEST(MockResource, PassesOnWhatNoExpectationAnswersAndIsNeverANullBlock) {
  ArmedRig rig(kDirect);
  testing::StrictMock<MockResource> upstream(rig.memory());
  EXPECT_CALL(upstream, allocate(RequestOf(1_MiB)));
  EXPECT_CALL(upstream, deallocate(_, RequestOf(1_MiB)));
  { const Bump bump(upstream, {.slab_bytes = 1_MiB}); }
  EXPECT_THAT(rig, IsDrained());
  testing::NiceMock<MockResource> empty;
  EXPECT_THROW(Bump(empty, {.slab_bytes = 1_MiB}), OutOfMemory);
}

TEST(MockResource, RefusesAsATestExpects) {
  ArmedRig rig(kDirect);
  testing::NiceMock<MockResource> upstream(rig.memory());
  EXPECT_CALL(upstream, allocate(_)).WillOnce(testing::Throw(OutOfMemory({.bytes = 512})));
  EXPECT_THROW(Bump(upstream, {.slab_bytes = 512}), OutOfMemory);
  EXPECT_EQ(testing::PrintToString(Request{.bytes = 512, .tag = "kv"}), "a request for 512 B of 'kv'");
}

}  // namespace
}  // namespace drought
