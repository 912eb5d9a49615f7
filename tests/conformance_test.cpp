// Every allocator of the catalogue keeps every claim that its interfaces make; a broken allocator for
// each claim proves that the suite bites; a property drives drawn calls beside a model; and a wrong free
// is caught at the call, whoever lent the block.
#include "tests/conformance.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

#include "allocators/catalogue.hpp"
#include "tests/broken_allocators.hpp"
#include "tests/named.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

struct Case {
  const AllocatorEntry* entry;
  const Claim* claim;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.entry->name << " and " << one.claim->name; }

/// Every allocator with every claim that it makes.
std::vector<Case> cases() {
  std::vector<Case> found;
  for (const AllocatorEntry& entry : allocator_catalogue()) {
    ChainRig chain(entry, 1);
    chain.start();
    for (const Claim& claim : conformance_claims())
      if (claim.promised(chain.allocator())) found.push_back({&entry, &claim});
  }
  return found;
}

class Conformance : public testing::TestWithParam<Case> {};

TEST_P(Conformance, Of) {
  EXPECT_EQ(GetParam().claim->mistake(*GetParam().entry, test_seed(), Lane::host), "");
}

INSTANTIATE_TEST_SUITE_P(EveryAllocator, Conformance, testing::ValuesIn(cases()), [](const auto& info) {
  return std::string(info.param.entry->name) + "_" + std::string(info.param.claim->name);
});

TEST(ConformanceOnCuda, OfEveryAllocator) {
  std::string why_not;
  if (!make_cuda_device(profile_named("h100-80g"), {.work = Device::Work::shapes}, why_not))
    GTEST_SKIP() << why_not;
  for (const Case& one : cases())
    EXPECT_EQ(one.claim->mistake(*one.entry, test_seed(), Lane::cuda), "")
        << one.entry->name << " and " << one.claim->name;
}

struct Canary {
  AllocatorEntry entry;
  std::string_view breaks;  ///< The claim that must notice.
  std::string_view says;    ///< Part of what it must say.
};

void PrintTo(const Canary& canary, std::ostream* out) { *out << canary.entry.name; }

constexpr Canary kCanaries[] = {
    {broken<Misaligns>("misaligns"), "AlignsEveryBlockAsAskedOrSaysThatItCannot", "misaligned"},
    {broken<Overlaps>("overlaps"), "LendsOnlyWhatItBorrowedAndNoByteTwice", "overlaps"},
    {broken<LendsTooMuch>("lends_too_much"), "LendsOnlyWhatItBorrowedAndNoByteTwice", "overlaps"},
    {broken<FreesUnderItsTenant>("frees_under_its_tenant"), "LendsOnlyWhatItBorrowedAndNoByteTwice", ""},
    {broken<Leaks>("leaks"), "GivesBackEveryByteAtItsEnd", "kept"},
    {broken<ForgetsSizes>("forgets_sizes"), "GivesBackEveryByteAtItsEnd", "freed with"},
    {broken<LendsNothing>("lends_nothing"), "RefusesARequestOfNoBytes", "was not refused"},
    {broken<Wavers>("wavers"), "MakesTheSameDecisionsInTheSameRun", "different offsets"},
    {broken<Hoards>("hoards"), "UsesFreedMemoryBeforeItBorrowsMore", "lay idle"},
    {broken<TrimsNothing>("trims_nothing"), "TrimsToNothingOnceEverythingIsFree", "is not 0"},
    {broken<IgnoresRefusals>("ignores_refusals"), "AnswersEveryUpstreamFailureCleanlyAndRecovers",
     "outside all"},
    {broken<LeaksWhenRefused>("leaks_when_refused"), "AnswersEveryUpstreamFailureCleanlyAndRecovers",
     "header"},
    {broken<NeverRecovers>("never_recovers"), "AnswersEveryUpstreamFailureCleanlyAndRecovers",
     "after healing"},
    {broken<RenamesRefusals>("renames_refusals"), "AnswersEveryUpstreamFailureCleanlyAndRecovers", "neither"},
};

const Claim& claim_named(std::string_view wanted) {
  for (const Claim& claim : conformance_claims())
    if (claim.name == wanted) return claim;
  throw std::invalid_argument("no claim '" + std::string(wanted) + "'");
}

class ConformanceCanary : public testing::TestWithParam<Canary> {};

TEST_P(ConformanceCanary, IsCaughtByTheClaimThatItBreaks) {
  const Canary& canary = GetParam();
  const std::string mistake = claim_named(canary.breaks).mistake(canary.entry, test_seed(), Lane::host);
  EXPECT_NE(mistake, "");
  EXPECT_THAT(mistake, HasSubstr(std::string(canary.says)));
}

INSTANTIATE_TEST_SUITE_P(EveryDefect, ConformanceCanary, testing::ValuesIn(kCanaries),
                         [](const auto& info) { return std::string(info.param.entry.name); });

TEST(ConformanceSuite, HasABrokenAllocatorForEachOfItsClaims) {
  std::set<std::string_view> broken_claims;
  for (const Canary& canary : kCanaries) broken_claims.insert(canary.breaks);
  for (const Claim& claim : conformance_claims())
    EXPECT_TRUE(broken_claims.contains(claim.name)) << claim.name;
}

TEST(ConformanceSuite, FindsNothingWrongWithAnAllocatorThatPassesEverythingOn) {
  const AllocatorEntry sound = broken<PassesOn>("passes_on");
  ChainRig chain(sound, 1);
  chain.start();
  for (const Claim& claim : conformance_claims())
    if (claim.promised(chain.allocator())) {
      EXPECT_EQ(claim.mistake(sound, test_seed(), Lane::host), "") << claim.name;
    }
}

class EveryAllocator : public testing::TestWithParam<AllocatorEntry> {};
INSTANTIATE_TEST_SUITE_P(Catalogue, EveryAllocator, testing::ValuesIn(allocator_catalogue()), by_name);

/// One drawn call: what to do, to which block, and how large, in numbers that shrink towards nothing.
using Drawn = std::tuple<std::uint8_t, std::uint8_t, std::uint32_t>;

TEST_P(EveryAllocator, AgreesWithAModelOverAnyOrderOfCalls) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls) {
    ChainRig chain(GetParam(), test_seed());
    Tenant tenant(chain);
    for (const auto& [what, which, size] : calls) {
      const std::size_t bytes = 1 + size % (std::size_t{1} << (1 + which % 22));
      if (what % 8 == 0 && chain.trims()) {
        chain.trims()->trim();
      } else if (what % 3 == 0) {
        tenant.free(which);
      } else if (tenant.asked_bytes() + bytes <= kLentAtLeast) {
        tenant.allocate({.bytes = bytes, .stream = chain.stream(what), .tag = "drawn"});
      }
    }
    if (tenant.blocks() == 0) tenant.allocate({.bytes = 1, .tag = "drawn"});
    tenant.free_all();
    RC_ASSERT(tenant.mistake() == "");
    RC_ASSERT(chain.end() == "");
  }));
}

TEST_P(EveryAllocator, HasADoubleFreeCaughtAtTheCall) {
  ChainRig chain(GetParam(), 1);
  chain.start();
  const Request request{.bytes = 1000, .tag = "twice_freed"};
  void* const block = chain.memory().allocate(request);
  chain.memory().deallocate(block, request);
  ASSERT_EQ(chain.first_violation(), "");
  chain.memory().deallocate(block, request);
  EXPECT_THAT(chain.first_violation(), HasSubstr("double free of 'twice_freed'"));
  EXPECT_THAT(chain.first_violation(), HasSubstr("tests/conformance_test.cpp:"));
}

TEST_P(EveryAllocator, HasAFreeOfAForeignBlockCaughtAtTheCall) {
  ChainRig chain(GetParam(), 1);
  chain.start();
  const Request request{.bytes = 1000, .tag = "never_lent"};
  int foreign = 0;
  chain.memory().deallocate(&foreign, request);
  EXPECT_THAT(chain.first_violation(), HasSubstr("never lent"));
  EXPECT_THAT(chain.first_violation(), HasSubstr("'never_lent'"));
  EXPECT_THAT(chain.first_violation(), HasSubstr("tests/conformance_test.cpp:"));
}

TEST_P(EveryAllocator, HasAFreeInsideABlockCaughtAtTheCallAndKeepsTheBlock) {
  ChainRig chain(GetParam(), 1);
  chain.start();
  const Request request{.bytes = 1000, .tag = "whole"};
  void* const block = chain.memory().allocate(request);
  chain.memory().deallocate(static_cast<std::byte*>(block) + 512, request);
  EXPECT_THAT(chain.first_violation(), HasSubstr("never lent"));
  EXPECT_EQ(chain.rig().ledger().live_bytes(), 1000u);
  chain.memory().deallocate(block, request);
}

TEST_P(EveryAllocator, HasAFreeOfTheWrongSizeCaughtAtTheCall) {
  ChainRig chain(GetParam(), 1);
  chain.start();
  const Request request{.bytes = 1000, .tag = "shrunk"};
  void* const block = chain.memory().allocate(request);
  chain.memory().deallocate(block, {.bytes = 999, .tag = "shrunk"});
  EXPECT_THAT(chain.first_violation(), HasSubstr("'shrunk'"));
  EXPECT_THAT(chain.first_violation(), HasSubstr("freed with 999 B"));
  EXPECT_THAT(chain.first_violation(), HasSubstr("asked at tests/conformance_test.cpp:"));
  EXPECT_EQ(chain.rig().ledger().live_bytes(), 0u);
}

}  // namespace
}  // namespace drought
