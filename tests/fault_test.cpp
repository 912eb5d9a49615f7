// Each fault does what the real event does, answers only what the real call documents, and gives back
// all it took.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "faults/error_code.hpp"
#include "harness/gtest/armed_rig.hpp"
#include "harness/gtest/matchers.hpp"
#include "harness/memory/interfaces.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

TEST(OutOfMemoryFault, RefusesADeviceCallBeforeAnythingHappens) {
  ArmedRig rig(std::string(kDirect) +
               "[[fault]]\nkind = 'out_of_memory'\nwhen = {site = 'cudaMalloc', nth = 1}");
  void* block = &rig;
  EXPECT_EQ(rig->device().malloc(block, 1_MiB), Status::memory_allocation);
  EXPECT_EQ(block, nullptr);
  EXPECT_THAT(rig, IsDrained());
  EXPECT_EQ(rig->device().take_last_error(), Status::memory_allocation);
  EXPECT_EQ(rig->device().malloc(block, 1_MiB), Status::success);
  EXPECT_EQ(rig->device().free(block), Status::success);
}

TEST(OutOfMemoryFault, ThrowsOutOfMemoryAtAResourceAndNamesWhoWasStruck) {
  ArmedRig rig(std::string(kDirect) +
               "[[fault]]\nkind = 'out_of_memory'\nwhen = {site = 'allocate', tag = 'kv', nth = 1}");
  try {
    (void)rig.memory().allocate({.bytes = 5, .tag = "kv"});
    FAIL() << "lent";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("struck at 'direct'"));
    EXPECT_THAT(error.what(), HasSubstr("'kv'"));
    EXPECT_EQ(error.request().bytes, 5u);
  }
  EXPECT_THAT(rig, HasNoLeaks());
}

TEST(ErrorCodeFault, AnswersTheErrorInsteadOfMakingTheCall) {
  ArmedRig rig(
      std::string(kDirect) +
      "[[fault]]\nkind = 'error_code'\nerror = 'cudaErrorInvalidValue'\nwhen = {site = 'cudaMalloc'}");
  void* block = nullptr;
  EXPECT_EQ(rig->device().malloc(block, 1_MiB), Status::invalid_value);
  EXPECT_THAT(rig, IsDrained());
}

TEST(ErrorCodeFault, AnswersTheFirstDocumentedErrorUnlessOneIsNamed) {
  ArmedRig rig(std::string(kDirect) + "[[fault]]\nkind = 'error_code'\nwhen = {site = 'launch'}");
  EXPECT_EQ(rig->device().launch({.kernel = "k", .grid = {}, .block = {}, .declared = false}),
            Status::launch_out_of_resources);
}

TEST(ErrorCodeFault, RefusesAnErrorThatTheCallDoesNotDocument) {
  const ErrorCode fault({.error = "cudaErrorHostMemoryAlreadyRegistered"});
  EXPECT_TRUE(fault.can_strike(Site::cudaHostRegister));
  EXPECT_FALSE(fault.can_strike(Site::cudaMalloc));
  EXPECT_THROW(ErrorCode({.error = "cudaErrorOfMyOwn"}), std::invalid_argument);
  EXPECT_THROW(ErrorCode({.error = "cudaSuccess"}), std::invalid_argument);
}

TEST(ErrorCodeFault, LeavesWhatEndsTheContextToContextLostAndWhatGivesBackToFailedFree) {
  EXPECT_THROW(ErrorCode({.error = "cudaErrorLaunchFailure"}), std::invalid_argument);
  const ErrorCode fault({});
  EXPECT_FALSE(fault.can_strike(Site::cudaFree));
  ArmedRig rig(std::string(kDirect) +
               "[[fault]]\nkind = 'error_code'\nwhen = {site = 'cudaDeviceSynchronize'}");
  EXPECT_EQ(rig->device().synchronize(), Status::unknown) << "its first error that is not sticky";
}

TEST(LeakReferenceFault, KeepsTheBlockAliveUnderItsNameUntilItIsReleased) {
  ArmedRig rig(std::string(kDirect) + "[[fault]]\nkind = 'leak_reference'\nwhen = {tag = 'kv', nth = 1}");
  {
    const Buffer kept(rig.memory(), {.bytes = 3_MiB, .tag = "kv"});
    const Buffer other(rig.memory(), {.bytes = 3_MiB, .tag = "weights"});
  }
  EXPECT_THAT(rig, AccountsFor(3_MiB));
  const auto survivors = rig->ledger().mark_teardown({"kv"});
  ASSERT_EQ(survivors.size(), 1u);
  EXPECT_EQ(survivors[0].holders, std::vector<std::string>{"fault:registry"});
  EXPECT_TRUE(survivors[0].charged_to_fault);
  rig->heal();
  EXPECT_THAT(rig, HasNoLeaks());
}

constexpr std::size_t kHole = 8_MiB, kRequest = 64_MiB;

/// A chain of `top` on a device of 3 GiB, fragmented at the first request tagged 'big'.
std::string fragmented(const std::string& top) {
  return std::string(kDirect) + "capacity_bytes = '3 GiB'\n" +
         (top == "direct" ? "" : "[[resource]]\nkind = '" + top + "'\n") +
         "[[fault]]\nkind = 'fragment'\nhole_bytes = '8 MiB'\n"
         "when = {site = 'allocate', tag = 'big', nth = 1, resource = '" +
         top + "'}";
}

TEST(FragmentFault, LeavesAnAllocatorThatCannotMoveBlocksWithBytesEnoughAndNoHoleLargeEnough) {
  ArmedRig rig(fragmented("caching"));
  EXPECT_THROW((void)rig.memory().allocate({.bytes = kRequest, .tag = "big"}), OutOfMemory);
  std::size_t free_bytes = 0, largest = 0;
  for (const auto& hole : dynamic_cast<ListsFreeBlocks&>(rig->allocator()).free_blocks()) {
    free_bytes += hole.bytes;
    largest = std::max(largest, hole.bytes);
  }
  EXPECT_GE(free_bytes, kRequest);
  EXPECT_GE(largest, kHole);
  EXPECT_LE(largest, kHole + kHole / 8);
  EXPECT_NO_THROW(Buffer(rig.memory(), {.bytes = kHole, .tag = "piece"})) << "the holes are there to be used";
  rig->heal();
  EXPECT_NO_THROW(Buffer(rig.memory(), {.bytes = kRequest, .tag = "after healing"}));
  rig.end();
  EXPECT_THAT(rig, PassesEveryCheck());
}

TEST(FragmentFault, IsSurvivedByCudaMallocWhichMapsPagesAnew) {
  ArmedRig rig(fragmented("direct"));
  EXPECT_NO_THROW(Buffer(rig.memory(), {.bytes = kRequest, .tag = "big"}));
  rig->heal();
  EXPECT_THAT(rig, IsDrained());
}

TEST(FragmentFault, LeavesAnAllocatorThatReclaimsNothingWithNothing) {
  ArmedRig rig(fragmented("bump"));
  EXPECT_THROW((void)rig.memory().allocate({.bytes = 16_MiB, .tag = "big"}), OutOfMemory);
  EXPECT_THROW((void)rig.memory().allocate({.bytes = kHole, .tag = "piece"}), OutOfMemory);
}

TEST(FragmentFault, GivesUpAloudOnAResourceThatHasNoEnd) {
  ArmedRig rig(std::string(kDirect) +
               "[[fault]]\nkind = 'fragment'\nhole_bytes = '2 MiB'\nblocks_max = 10\n"
               "when = {site = 'allocate', nth = 1}");
  Buffer(rig.memory(), {.bytes = kRequest, .tag = "big"});
  ASSERT_EQ(rig->record().violations.size(), 1u);
  EXPECT_THAT(rig->record().violations[0].text, HasSubstr("gave up after 10 blocks"));
}

TEST(FragmentFault, LeavesMemoryThatIsLentBeyondTheDeviceAlone) {
  const auto violations = [](const std::string& target) {
    ArmedRig rig(std::string(kDirect) +
                 "capacity_bytes = '800 MiB'\n[[resource]]\nkind = 'managed'\n"
                 "[[fault]]\nkind = 'fragment'\n" +
                 target + "when = {site = 'allocate', nth = 1}");
    Buffer(rig.memory(), {.bytes = 1_MiB, .tag = "big"});
    EXPECT_THAT(rig->record().decisions, testing::Contains("fragment: nothing, the resource has no end"));
    EXPECT_EQ(rig->ledger().live_bytes(), 0u);
    return rig->record().violations.size();
  };
  EXPECT_EQ(violations(""), 0u);
  EXPECT_EQ(violations("holes = 3\n"), 1u) << "a target that cannot be met is told";
}

TEST(FragmentFault, IsNoTryOfTheAllocatorThatItAsks) {
  ArmedRig rig(fragmented("legacy_pool"));
  Buffer(rig.memory(), {.bytes = kRequest, .tag = "big"});
  ASSERT_FALSE(rig->record().attempts.empty());
  EXPECT_EQ(rig->record().attempts.front().number, 1u);
  for (const Attempt& attempt : rig->record().attempts) EXPECT_GE(attempt.size, kRequest);
}

TEST(PeerGrowsFault, TakesMemoryOfTheSameDeviceAndItsContextWithIt) {
  ArmedRig rig(std::string(kDirect) +
               "[[fault]]\nkind = 'peer_grows'\nbytes = '10 GiB'\nwhen = {site = 'cudaMemGetInfo', nth = 2}");
  const std::size_t before = rig.free_bytes();
  const std::size_t after = rig.free_bytes();
  EXPECT_EQ(before - after, 10_GiB + rig->device().profile().peer_context_bytes);
  rig->heal();
  EXPECT_EQ(rig.free_bytes(), before);
}

TEST(PeerGrowsFault, GrowsAtEachStrikeAndPaysForItsContextOnce) {
  ArmedRig rig(std::string(kDirect) +
               "[[fault]]\nkind = 'peer_grows'\nbytes = '1 GiB'\nwhen = {site = 'cudaMemGetInfo', from = 2}");
  const std::size_t before = rig.free_bytes();
  (void)rig.free_bytes();
  EXPECT_EQ(before - rig.free_bytes(), 2_GiB + rig->device().profile().peer_context_bytes);
}

TEST(PeerGrowsFault, LeavesWhatItIsToldToLeaveSoThatALargerRequestFails) {
  ArmedRig rig(
      std::string(kDirect) +
      "[[fault]]\nkind = 'peer_grows'\nleave_bytes = '1 GiB'\nwhen = {site = 'cudaMalloc', nth = 1}");
  void* block = nullptr;
  EXPECT_EQ(rig->device().malloc(block, 2_GiB), Status::memory_allocation);
  EXPECT_EQ(rig.free_bytes(), 1_GiB);
  EXPECT_EQ(rig->device().malloc(block, 512_MiB), Status::success);
  EXPECT_EQ(rig->device().free(block), Status::success);
}

TEST(PeerGrowsFault, TakesNothingWhereLessIsFreeThanItIsToLeave) {
  ArmedRig rig(
      std::string(kDirect) +
      "[[fault]]\nkind = 'peer_grows'\nleave_bytes = '79 GiB'\nwhen = {site = 'cudaMemGetInfo', nth = 2}");
  const std::size_t before = rig.free_bytes();
  EXPECT_LT(before - rig->device().profile().peer_context_bytes, 79_GiB);
  EXPECT_EQ(rig.free_bytes(), before);
}

TEST(PeerGrowsFault, TakesNoMoreThanThereIs) {
  ArmedRig rig(std::string(kDirect) +
               "[[fault]]\nkind = 'peer_grows'\nbytes = '500 GiB'\nwhen = {site = 'cudaMalloc', nth = 1}");
  void* block = nullptr;
  EXPECT_EQ(rig->device().malloc(block, 2_MiB), Status::memory_allocation);
  EXPECT_EQ(rig.free_bytes(), 0u);
  rig->heal();
  EXPECT_EQ(rig->device().malloc(block, 2_MiB), Status::success);
  EXPECT_EQ(rig->device().free(block), Status::success);
}

}  // namespace
}  // namespace drought
