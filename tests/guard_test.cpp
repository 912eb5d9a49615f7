// The guard notices each kind of stray access and names the block, notices nothing where nothing is wrong,
// and its protections are what does it: with one of them switched off the same access goes unseen.
#include "allocators/guard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <vector>

#include "harness/device/child.hpp"
#include "harness/sched/sanitizers.hpp"
#include "tests/guard_cases.hpp"
#include "tests/host_lane.hpp"
#include "tests/named.hpp"
#include "tests/probe.hpp"
#include "tests/scenario_text.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::Not;
using Work = Device::Work;

class EveryGuardCase : public testing::TestWithParam<GuardCase> {};
INSTANTIATE_TEST_SUITE_P(Each, EveryGuardCase, testing::ValuesIn(guard_cases()), by_name);

std::string come_of(const GuardCase& one, const Guard::Options& options) {
  const auto device = h200();
  Guard guard(*device, options);
  return one.run(*device, guard);
}

TEST_P(EveryGuardCase, IsNoticed) {
  EXPECT_THAT(come_of(GetParam(), GetParam().sound), HasSubstr(std::string(GetParam().answer)));
}

TEST_P(EveryGuardCase, IsNoticedInAProcessOfItsOwn) {
  const ChildEnd end = Child(job("guard_case")).finish("host " + std::string(GetParam().name));
  EXPECT_TRUE(end.succeeded()) << end.text();
  EXPECT_THAT(end.record, HasSubstr(std::string(GetParam().answer)));
}

TEST_P(EveryGuardCase, IsNotNoticedWithoutTheProtectionThatItIsAbout) {
  EXPECT_THAT(come_of(GetParam(), GetParam().broken), Not(HasSubstr(std::string(GetParam().answer))));
}

TEST(Guard, FindsNothingWrongWithWritesInsideABlockAndRefusesASecondFree) {
  const auto device = h200();
  Guard guard(*device, {});
  EXPECT_EQ(write_inside_and_free_twice(*device, guard), "damaged 0, refused 1");
  EXPECT_EQ(guard.quarantined_blocks(), 1u);
}

TEST(Guard, SaysWhichBlockWasDamagedByTagSizeAndPlace) {
  const auto device = h200();
  Guard guard(*device, {});
  const Request request{.bytes = 508, .tag = "kv_scale"};
  auto* const block = static_cast<std::byte*>(guard.allocate(request));
  ASSERT_EQ(probe_write(*device, block + 509, 0), Status::success);
  ASSERT_EQ(probe_write(*device, block + 511, 0), Status::success);
  guard.deallocate(block, request);
  EXPECT_THAT(guard.last_damage(), HasSubstr("'kv_scale' (508 B, allocated at tests/guard_test.cpp:"));
  EXPECT_THAT(guard.last_damage(), HasSubstr("bytes 509 to 511 from its start"));
}

TEST(Guard, UsesPhysicalMemoryAgainAndAddressesNotBeforeTheirQuarantineIsOver) {
  const auto device = h200();
  Guard guard(*device, {.quarantine_blocks = 3});
  const Request request{.bytes = 4_KiB};
  std::vector<void*> given;
  for (int i = 0; i < 6; ++i) {
    given.push_back(guard.allocate(request));
    EXPECT_EQ(guard.reserved_bytes(), 2_MiB);
    guard.deallocate(given.back(), request);
    EXPECT_EQ(guard.quarantined_blocks(), std::min<std::size_t>(given.size(), 3));
  }
  EXPECT_THAT(std::vector(given.begin() + 1, given.begin() + 4), Not(testing::Contains(given[0])));
  EXPECT_EQ(given[4], given[0]) << "the fourth free let the first one's addresses go";
}

TEST(Guard, KeepsNoMoreAddressesInQuarantineThanItsBytesAllow) {
  const auto device = h200();
  Guard guard(*device, {.quarantine_bytes = 64_MiB});
  for (int i = 0; i < 40; ++i) guard.deallocate(guard.allocate({.bytes = 4_KiB}), {.bytes = 4_KiB});
  EXPECT_EQ(guard.quarantined_blocks(), 10u) << "of 6 MiB each: a granule and a fence on either side";
}

TEST(Guard, MakesRoomForOneSizeOutOfWhatItKeepsOfAnother) {
  const auto device = make_host_device(profile_named("h200"), {.capacity_bytes = 1_GiB});
  Guard guard(*device, {});
  const Request large{.bytes = 400_MiB};
  guard.deallocate(guard.allocate(large), large);
  const Request larger{.bytes = 440_MiB};
  void* const block = guard.allocate(larger);
  EXPECT_EQ(guard.reserved_bytes(), 440_MiB);
  EXPECT_THROW((void)guard.allocate(large), OutOfMemory);
  EXPECT_EQ(device->peek_last_error(), Status::success);
  guard.deallocate(block, larger);
  EXPECT_EQ(guard.trim(), 440_MiB);
  EXPECT_EQ(device->held_bytes(), 0u);
}

TEST(Guard, LendsTensOfThousandsOfBlocksAndThenSaysThatTheHostHasNoMoreMappings) {
  const auto device = h200();
  std::vector<void*> blocks;
  const Request request{.bytes = 4_KiB};
  {
    Guard guard(*device, {.canary_bytes = 0});
    try {
      // A sanitizer ends where it finds no mapping for itself.
      const std::size_t most = sanitizers::address || sanitizers::thread ? 26'000 : 65'530;
      while (blocks.size() < most) blocks.push_back(guard.allocate(request));
    } catch (const OutOfMemory& refusal) {
      EXPECT_THAT(refusal.what(), HasSubstr("cuMemMap"));
    }
    EXPECT_GT(blocks.size(), 25'000u);
    RecordProperty("blocks", static_cast<int>(blocks.size()));
    for (void* const block : blocks) guard.deallocate(block, request);
  }
  EXPECT_EQ(device->held_bytes(), 0u);
}

TEST(Guard, RefusesAnUnknownFenceAndADeviceWithoutVirtualMemory) {
  const auto device = h200();
  EXPECT_THROW(Guard(*device, {.fence = "behind"}), std::invalid_argument);
  const auto without = make_host_device(profile_named("rx9070-16g"), {});
  EXPECT_THROW(Guard(*without, {}), std::invalid_argument);
}

/// What to do, to which block, how large or how far, in numbers that shrink towards nothing.
using Drawn = std::tuple<std::uint8_t, std::uint8_t, std::uint32_t>;

TEST(Guard, AccusesExactlyTheBlocksBesideWhichSomethingWasWritten) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls, bool before) {
    const auto device = h200(test_seed());
    Guard guard(*device, {.fence = before ? "before" : "after"});
    struct Held {
      Request request;
      bool damaged = false;
    };
    std::map<std::byte*, Held> held;
    std::size_t damaged = 0;
    const auto free = [&](auto victim) {
      const auto [block, was] = *victim;
      held.erase(victim);
      damaged += was.damaged;
      guard.deallocate(block, was.request);
    };
    for (const auto& [what, which, size] : calls) {
      const auto chosen = held.empty() ? held.end() : std::next(held.begin(), which % held.size());
      if (what % 4 == 0 || chosen == held.end()) {
        const Request request{.bytes = 1 + size % 10'000, .alignment = std::size_t{1} << which % 10};
        held[static_cast<std::byte*>(guard.allocate(request))] = {request};
      } else if (what % 4 == 1) {
        free(chosen);
      } else if (what % 4 == 2) {
        RC_ASSERT(device->memset(chosen->first, which, chosen->second.request.bytes) == Status::success);
      } else {
        // A byte within the canary's reach on the side that has one for certain.
        const auto far = static_cast<std::ptrdiff_t>(size % 4_KiB);
        const auto bytes = static_cast<std::ptrdiff_t>(chosen->second.request.bytes);
        RC_ASSERT(probe_write(*device, chosen->first + (before ? bytes + far : -1 - far), 0) ==
                  Status::success);
        chosen->second.damaged = true;
      }
    }
    while (!held.empty()) free(held.begin());
    RC_ASSERT(guard.damaged_blocks() == damaged);
    RC_ASSERT(device->synchronize() == Status::success);
  }));
}

std::string message_of(const std::string& scenario) {
  return run_scenario(scenario_of(scenario, all_catalogues()), all_catalogues(), {}).outcome.message;
}

TEST(GuardedRun, NamesTheBlockThatAStrayAccessLiesBesideAndTheLaunchThatCouldDoIt) {
  const std::string guard = "[[resource]]\nkind = 'guard'\n";
  const std::string past_end = message_of(guard + "[workload]\nkind = 'overrun'");
  EXPECT_THAT(past_end, HasSubstr("the address lies 0 B past the end of 'data' (id 1, 4096 B, allocated at "
                                  "scenarios/allocators/overrun.cpp:"));
  EXPECT_THAT(past_end, HasSubstr("suspect: checksum operand 'data' runs 4 B past the end of 'data' (id 1"));
  const std::string stale = message_of(guard + "[workload]\nkind = 'stray_read'\ndeclared = false");
  EXPECT_THAT(stale, HasSubstr(" of 'data' (id 1, 67108864 B), freed at scenarios/kernels/stray_read.cpp:"));
  EXPECT_THAT(stale, HasSubstr("suspect: checksum operand 'data' is stale: 'data' (id 1)"));
}

TEST(GuardedRun, NamesNobodyInARunThatTouchesOnlyItsOwn) {
  EXPECT_EQ(message_of("[[resource]]\nkind = 'guard'\n[workload]\nkind = 'churn'"), "");
}

}  // namespace
}  // namespace drought
