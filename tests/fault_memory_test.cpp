// Faults of memory and of processes: bits that turn over, caches that are emptied, leases that outlive their
// scope, holes, peers and ranks. Beside what each does stands an allocator or a workload that it exposes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "faults/fragment.hpp"
#include "faults/leak_reference.hpp"
#include "harness/gtest/armed_rig.hpp"
#include "harness/gtest/matchers.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/sched/group.hpp"
#include "tests/scenario_text.hpp"
#include "tests/trusting_allocators.hpp"

namespace drought {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kCaching =
    "[device]\nprofile = 'h100-80g'\n[[resource]]\nkind = 'direct'\n[[resource]]\nkind = 'caching'\n";

/// The bits that are set in the block's first `bytes`.
int bits_in(ArmedRig& rig, const void* block, std::size_t bytes) {
  std::vector<std::uint8_t> seen(bytes);
  EXPECT_EQ(rig->device().memcpy(seen.data(), block, bytes), Status::success);
  int bits = 0;
  for (const std::uint8_t byte : seen) bits += std::popcount(byte);
  return bits;
}

TEST(BitFlipFault, TurnsOneBitOfTheBlockThatWasFreed) {
  ArmedRig rig(std::string(kCaching) +
               "[[fault]]\nkind = 'bit_flip'\nbyte = 70\nbit = 3\nwhen = {resource = 'caching', tag = 'a'}");
  const Request request{.bytes = 512, .tag = "a"};
  void* const block = rig.memory().allocate(request);
  EXPECT_EQ(rig->device().memset(block, 0, 512), Status::success);
  rig.memory().deallocate(block, request);
  ASSERT_EQ(rig.memory().allocate(request), block) << "the test needs the same block again";
  std::vector<std::uint8_t> seen(512);
  EXPECT_EQ(rig->device().memcpy(seen.data(), block, 512), Status::success);
  EXPECT_EQ(seen[70], 8u);
  EXPECT_EQ(bits_in(rig, block, 512), 1);
  EXPECT_THAT(rig->record().decisions, ElementsAre("bit_flip: byte 70 of 'a'"));
  rig.memory().deallocate(block, request);
}

TEST(BitFlipFault, LeavesMemoryThatWentBackToTheDriverAlone) {
  ArmedRig rig("[device]\nprofile = 'h100-80g'\n[[fault]]\nkind = 'bit_flip'\n");
  { const Buffer block(rig.memory(), {.bytes = 4_MiB, .tag = "gone"}); }
  EXPECT_THAT(rig->record().decisions, ElementsAre("bit_flip: 'gone' is unmapped"));
  EXPECT_EQ(rig->device().synchronize(), Status::success);
}

TEST(BitFlipFault, TurnsOneBitOfALiveBlockOfItsTag) {
  ArmedRig rig(
      "[device]\nprofile = 'h100-80g'\n[[fault]]\nkind = 'bit_flip'\nlive = true\ntag = 'kv*'\n"
      "when = {site = 'cudaDeviceSynchronize', nth = 1}");
  const Buffer other(rig.memory(), {.bytes = 256, .tag = "weights"});
  const Buffer hit(rig.memory(), {.bytes = 256, .tag = "kv_buffer"});
  for (const Buffer* block : {&other, &hit})
    ASSERT_EQ(rig->device().memset(block->data(), 0, 256), Status::success);
  ASSERT_EQ(rig->device().synchronize(), Status::success);
  EXPECT_EQ(bits_in(rig, hit.data(), 256), 1);
  EXPECT_EQ(bits_in(rig, other.data(), 256), 0);
}

/// The shipped catalogues and the allocators of trusting_allocators.hpp.
Catalogues with_trusting_allocators() {
  static const std::vector<AllocatorEntry> all = [] {
    std::vector<AllocatorEntry> entries{trusting<BelievesFrees, true>("trusts_frees"),
                                        trusting<BelievesFrees, false>("doubts_frees"),
                                        trusting<ListsFreeBlocksSomewhere, true>("lists_inside"),
                                        trusting<ListsFreeBlocksSomewhere, false>("lists_outside")};
    for (const AllocatorEntry& shipped : all_catalogues().allocators) entries.push_back(shipped);
    return entries;
  }();
  Catalogues catalogues = all_catalogues();
  catalogues.allocators = all;
  return catalogues;
}

RunResult churn_on(const std::string& allocator, const std::string& fault, int live_max = 4) {
  const Catalogues catalogues = with_trusting_allocators();
  return run_scenario(scenario_of("[device]\nprofile = 'h100-80g'\n[[resource]]\nkind = '" + allocator +
                                      "'\n[workload]\nkind = 'churn'\nallocations = 60\nlive_max = " +
                                      std::to_string(live_max) +
                                      "\n"
                                      "bytes_min = '64 KiB'\nbytes_max = '64 KiB'\n[[fault]]\nkind = " +
                                      fault,
                                  catalogues),
                      catalogues, {});
}

TEST(BitFlipFault, IsNoneOfTheBusinessOfAListOutsideTheBlocksAndTheEndOfOneInside) {
  const std::string fault = "'bit_flip'\nbyte = 1\nbit = 3\nwhen = {nth = 3}";
  EXPECT_EQ(churn_on("lists_inside", "'delay'", 8).verdict, Verdict::survived) << "sound without the fault";
  EXPECT_EQ(churn_on("lists_outside", fault, 8).verdict, Verdict::survived);
  const RunResult inside = churn_on("lists_inside", fault, 8);
  EXPECT_FALSE(is_good(inside.verdict)) << name(inside.verdict) << testing::PrintToString(inside.decisions)
                                        << "a list that a stray write changed went unnoticed";
}

TEST(FailedFreeFault, ExposesAnAllocatorThatBelievesIt) {
  const std::string fault = "'failed_free'\nwhen = {site = 'cudaFree', nth = 3}";
  EXPECT_EQ(churn_on("trusts_frees", "'delay'").verdict, Verdict::survived) << "sound without the fault";
  EXPECT_EQ(churn_on("doubts_frees", fault).verdict, Verdict::survived);
  EXPECT_EQ(churn_on("direct", fault).verdict, Verdict::survived);
  const RunResult believes = churn_on("trusts_frees", fault);
  EXPECT_FALSE(is_good(believes.verdict)) << "freed memory was lent again";
}

TEST(CacheReleaseFault, EmptiesTheCacheOfTheAllocatorThatIsAskedAndNothingThatLives) {
  ArmedRig rig(std::string(kCaching) +
               "[[fault]]\nkind = 'cache_release'\nwhen = {resource = 'caching', tag = 'last'}");
  const Buffer live(rig.memory(), {.bytes = 30_MiB, .tag = "live"});
  { const Buffer idle(rig.memory(), {.bytes = 40_MiB, .tag = "idle"}); }
  EXPECT_EQ(rig->device().held_bytes(), 70_MiB);
  const Buffer last(rig.memory(), {.bytes = 20_MiB, .tag = "last"});
  EXPECT_EQ(rig->device().held_bytes(), 50_MiB);
  EXPECT_THAT(rig->record().decisions, ElementsAre("cache_release: " + std::to_string(40_MiB) + " B"));
}

std::size_t left_after(const std::string& holder, void (*then)(ArmedRig&)) {
  ArmedRig rig(std::string(kDirect) + "[[fault]]\nkind = 'leak_reference'\nholder = '" + holder +
               "'\nwhen = {tag = 'kv'}");
  { const Buffer kept(rig.memory(), {.bytes = 1_MiB, .tag = "kv"}); }
  EXPECT_EQ(rig->ledger().mark_teardown({"kv"}).at(0).holders, std::vector{"fault:" + holder});
  then(rig);
  const std::size_t left = rig->ledger().live_bytes();
  rig->heal();
  EXPECT_THAT(rig, HasNoLeaks()) << holder;
  return left;
}

TEST(LeakReferenceFault, EndsWithTheHolderThatItImitates) {
  const auto nothing = [](ArmedRig&) {};
  const auto fails = [](ArmedRig& rig) {
    void* block = nullptr;
    EXPECT_EQ(rig->device().malloc(block, 500_GiB), Status::memory_allocation);
  };
  const auto waits = [](ArmedRig& rig) { EXPECT_EQ(rig->device().stream_synchronize({}), Status::success); };
  for (const char* holder : {"registry", "graph", "peer", "error", "stream"})
    EXPECT_EQ(left_after(holder, nothing), 1_MiB) << holder;
  for (const char* holder : {"registry", "graph", "peer"}) {
    EXPECT_EQ(left_after(holder, fails), 1_MiB) << holder;
    EXPECT_EQ(left_after(holder, waits), 1_MiB) << holder;
  }
  EXPECT_EQ(left_after("error", fails), 0u) << "the next error takes its place";
  EXPECT_EQ(left_after("error", waits), 1_MiB);
  EXPECT_EQ(left_after("stream", waits), 0u);
  EXPECT_EQ(left_after("stream", fails), 1_MiB);
  EXPECT_THROW(LeakReference({.holder = "nobody"}), std::invalid_argument);
}

/// The free blocks of a caching allocator on 3 GiB that `how` fragmented, at a request of 64 MiB.
std::vector<std::size_t> holes_of(const std::string& how, std::string* decision = nullptr) {
  ArmedRig rig(std::string(kDirect) +
               "capacity_bytes = '3 GiB'\n[[resource]]\nkind = 'caching'\n[[fault]]\nkind = 'fragment'\n"
               "hole_bytes = '8 MiB'\n" +
               how + "\nwhen = {tag = 'big', nth = 1, resource = 'caching'}");
  EXPECT_THROW((void)rig.memory().allocate({.bytes = 64_MiB, .tag = "big"}), OutOfMemory);
  std::vector<std::size_t> holes;
  for (const auto& hole : dynamic_cast<ListsFreeBlocks&>(rig->allocator()).free_blocks())
    if (hole.bytes >= 8_MiB) holes.push_back(hole.bytes);
  if (decision) *decision = rig->record().decisions.back();
  rig->heal();
  rig.end();
  EXPECT_THAT(rig, PassesEveryCheck());
  return holes;
}

TEST(FragmentFault, MakesAsManyHolesAsAreWantedOrAsTheFractionNeeds) {
  EXPECT_EQ(holes_of("holes = 7").size(), 7u);
  EXPECT_EQ(holes_of("fraction = 0.9").size(), 10u);
  EXPECT_EQ(holes_of("fraction = 0.5").size(), 2u);
  EXPECT_GT(holes_of("").size(), 20u);
  EXPECT_THROW(Fragment({.holes = 2, .fraction = 0.5}), std::invalid_argument);
  EXPECT_THROW(Fragment({.fraction = 1.0}), std::invalid_argument);
}

TEST(FragmentFault, ProvesThatTheRequestFailsThoughMoreIsFreeAndFailsTheRunWhereItDoesNot) {
  std::string decision;
  EXPECT_EQ(holes_of("holes = 9\nprove = true", &decision).size(), 9u);
  EXPECT_EQ(decision, "fragment: proven=1");
  const auto complaint = [](const std::string& top, const std::string& how) {
    ArmedRig rig(std::string(kDirect) + "capacity_bytes = '3 GiB'\n" + top +
                 "[[fault]]\nkind = 'fragment'\nhole_bytes = '8 MiB'\nprove = true\n" + how +
                 "\nwhen = {site = 'allocate', tag = 'big', nth = 1}");
    try {
      const Buffer big(rig.memory(), {.bytes = 64_MiB, .tag = "big"});
    } catch (const OutOfMemory&) {
    }
    return rig->record().violations.empty() ? "" : rig->record().violations[0].text;
  };
  EXPECT_THAT(complaint("", ""), HasSubstr("is served")) << "cudaMalloc maps pages anew";
  EXPECT_THAT(complaint("[[resource]]\nkind = 'caching'\n", "holes = 2"),
              HasSubstr(std::to_string(16_MiB) + " B are free"));
}

constexpr const char* kPeer = "[device]\nprofile = 'h100-80g'\nwork = 'shapes'\npeer_bytes = ['10 GiB']\n";

TEST(PeerShrinksFault, GivesBackWhatThePeerHeldAndTakesItAgainAtTheEnd) {
  ArmedRig rig(
      std::string(kPeer) +
      "[[fault]]\nkind = 'peer_shrinks'\nbytes = '4 GiB'\nwhen = {site = 'cudaMemGetInfo', nth = 2}");
  const std::size_t before = rig.free_bytes();
  EXPECT_EQ(rig.free_bytes() - before, 4_GiB);
  EXPECT_EQ(rig->device().peer_bytes("peer 0"), 6_GiB);
  rig->heal();
  EXPECT_EQ(rig.free_bytes(), before);
}

TEST(PeerDiesFault, GivesBackThePeersContextWithItsMemory) {
  ArmedRig rig(std::string(kPeer) +
               "[[fault]]\nkind = 'peer_dies'\nwhen = {site = 'cudaMemGetInfo', nth = 2}");
  const std::size_t before = rig.free_bytes();
  EXPECT_EQ(rig.free_bytes() - before, 10_GiB + rig->device().profile().peer_context_bytes);
  rig->heal();
  EXPECT_EQ(rig.free_bytes(), before);
}

/// Two ranks that meet after a call each: who came when, and what became of it.
class Meets final : public Workload {
 public:
  void run(Rig& rig) override {
    Group group(rig.scheduler(), 2);
    rig.scheduler().run_beside("rank", 2, [&](int rank) {
      MemInfo info;
      const Buffer own(rig.memory(rank), {.bytes = 1_MiB, .tag = "own"});
      (void)rig.device(rank).mem_info(info);
      rig.decide("rank " + std::to_string(rank) + " asked by", rig.scheduler().now());
      group.barrier(rank, "the meeting");
      rig.decide("met", 1);
    });
  }
};

RunResult meeting(const std::string& fault) {
  const TestCatalogues catalogues({workload_line<Meets>("meets")});
  return run_scenario(
      scenario_of("[device]\nprofile = 'h100-80g'\ncount = 2\n[workload]\nkind = 'meets'\n[[fault]]\n"
                  "when = {site = 'cudaMemGetInfo', rank = 1}\nkind = " +
                      fault,
                  catalogues.catalogues()),
      catalogues.catalogues(), {});
}

TEST(DelayFault, LetsOthersGoFirstAndTheRankComeLate) {
  const RunResult result = meeting("'delay'\nsteps = 500");
  EXPECT_EQ(result.verdict, Verdict::survived) << result.why;
  ASSERT_EQ(result.decisions.size(), 4u);
  EXPECT_THAT(result.decisions[0], HasSubstr("rank 0 asked by="));
  EXPECT_THAT(result.decisions[1], HasSubstr("rank 1 asked by=5")) << "500 steps and a few";
}

TEST(RankDiesFault, TakesItsMemoryWithItAndThoseWhoWaitForItHear) {
  const RunResult result = meeting("'rank_dies'");
  EXPECT_EQ(result.outcome.kind, Outcome::Kind::clean_error) << result.outcome.message;
  EXPECT_THAT(result.outcome.message, HasSubstr("rank 1 was killed"));
  EXPECT_THAT(result.decisions, testing::Not(Contains("met=1")));
  for (const CheckResult& check : result.checks) EXPECT_TRUE(check.ok) << check.name << ": " << check.message;
  EXPECT_EQ(result.live_bytes, 0u);
}

TEST(RankDiesFault, EndsARunWhoseOnlyProcessItKills) {
  const RunResult result = run_scenario(
      scenario_of(
          "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'rank_dies'\nwhen = {site = 'allocate', nth = 9}"),
      all_catalogues(), {});
  EXPECT_EQ(result.outcome.kind, Outcome::Kind::clean_error);
  EXPECT_THAT(result.outcome.message, HasSubstr("process 'workload' was killed"));
  EXPECT_EQ(result.live_bytes, 0u);
}

TEST(RankDiesFault, LetsTheFreeInWhichItStrikesComeToItsEnd) {
  const RunResult result = run_scenario(
      scenario_of("[device]\nprofile = 'h100-80g'\nwork = 'shapes'\n[[resource]]\nkind = "
                  "'arena'\narena_bytes = 3426304\n"
                  "[workload]\nkind = 'pool_decode'\ntokens = 128\nkv_types = ['f16']\n"
                  "[[fault]]\nkind = 'rank_dies'\nwhen = {site = 'cudaStreamSynchronize', nth = 1}"),
      all_catalogues(), {});
  EXPECT_EQ(result.outcome.kind, Outcome::Kind::clean_error);
  EXPECT_THAT(result.outcome.message, HasSubstr("process 'workload' was killed"));
  EXPECT_EQ(result.live_bytes, 0u);
}

}  // namespace
}  // namespace drought
